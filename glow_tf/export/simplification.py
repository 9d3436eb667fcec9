"""Simplification of the graphs of a SavedModel, which then takes less memory and time to load.

TensorFlow loads each function with copies of all functions that it calls, directly or indirectly, so that every node
of the model is there once for each function that reaches it.
"""

import pathlib
from collections.abc import Iterable, Mapping

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from glow_tf.runtime.internals import is_stateless

_GRADIENT = "_gradient_op_type"
# Names the nodes that a node is placed with, as `loc:@name`.
_COLOCATION = "_class"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def simplify(path: pathlib.Path) -> None:
    """Simplifies the graphs of a SavedModel, whose functions do the same as before.

    Custom gradients that nothing uses are removed, calls of a function that only calls another one go to that one, and
    equal nodes of a function are merged.

    Args:
      path: path of `saved_model.pb`.
    """
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in model.meta_graphs:
        _keep_used_gradients(meta)
        _call_directly(meta)
        _keep_needed_functions(meta)
        _merge_equal_nodes(meta)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _keep_used_gradients(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Removes the custom gradients of ops that are never differentiated on their own, and references to unsaved ones.

    TensorFlow saves every custom gradient, even of ops in the branches of a case or in other custom gradients, which
    are part of an op with a custom gradient (see `ServedFlow`). It warns of unsaved ones on loading.
    """
    library = meta.graph_def.library
    all_nodes = [meta.graph_def.node, *(function.node_def for function in library.function)]
    branches = {
        branch.name
        for nodes in all_nodes
        for node in nodes
        if node.op in ("Case", "StatelessCase")
        for branch in node.attr["branches"].list.func
    }
    saved = {gradient.registered_op_type for gradient in library.registered_gradients}
    inside = _reachable(branches | {g.gradient_func for g in library.registered_gradients}, library.function)
    for function in library.function:
        usable = set() if function.signature.name in inside else saved
        for node in function.node_def:
            if _GRADIENT in node.attr and node.attr[_GRADIENT].s.decode() not in usable:
                del node.attr[_GRADIENT]
    used = {node.attr[_GRADIENT].s.decode() for nodes in all_nodes for node in nodes if _GRADIENT in node.attr}
    kept = [gradient for gradient in library.registered_gradients if gradient.registered_op_type in used]
    del library.registered_gradients[:]
    library.registered_gradients.extend(kept)


def _call_directly(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Replaces calls of functions that only call another function, with the same arguments, by calls of that one."""
    library = meta.graph_def.library
    callees = {function.signature.name: _only_callee(function) for function in library.function}
    for nodes in (meta.graph_def.node, *(function.node_def for function in library.function)):
        for node in nodes:
            if node.op in _CALLS:
                while callee := callees.get(node.attr["f"].func.name):
                    node.attr["f"].func.name = callee


def _only_callee(function: function_pb2.FunctionDef) -> str | None:
    """Returns the name of the function that `function` returns the outputs of, for its own arguments; else None."""
    calls = [node for node in function.node_def if node.op in _CALLS]
    if len(calls) != 1 or not {node.op for node in function.node_def} <= {*_CALLS, "Identity", "NoOp"}:
        return None
    (call,) = calls
    given = [name for name in call.input if not name.startswith("^")]
    if given != [argument.name for argument in function.signature.input_arg]:
        return None
    copies = {f"{node.name}:output:0": node.input[0] for node in function.node_def if node.op == "Identity"}
    returned = [function.ret[output.name] for output in function.signature.output_arg]
    results = [f"{call.name}:output:{i}" for i in range(len(call.attr["Tout"].list.type))]
    return call.attr["f"].func.name if [copies.get(name, name) for name in returned] == results else None


def _keep_needed_functions(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Removes functions that no object of the SavedModel, no custom gradient and no node refers to."""
    library, objects = meta.graph_def.library, meta.object_graph_def
    roots = {gradient.gradient_func for gradient in library.registered_gradients} | set(_called(meta.graph_def.node))
    for node in objects.nodes:
        roots.update(node.function.concrete_functions)
        roots.update((node.bare_concrete_function.concrete_function_name, node.captured_tensor.concrete_function))
    needed = _reachable(roots, library.function)
    for name in set(objects.concrete_functions) - needed:
        del objects.concrete_functions[name]
    functions = [function for function in library.function if function.signature.name in needed]
    del library.function[:]
    library.function.extend(functions)


def _merge_equal_nodes(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Replaces nodes that compute the same from the same inputs by the first of them; most are constants."""
    replaced = {function.signature.name: _merged(function) for function in meta.graph_def.library.function}
    for node in meta.object_graph_def.nodes:
        # The tensors that custom gradients use.
        tensor = node.captured_tensor
        if tensor.concrete_function:
            tensor.name = _renamed(tensor.name, replaced[tensor.concrete_function])


def _merged(function: function_pb2.FunctionDef) -> dict[str, str]:
    """Merges the equal nodes of a function; returns the names of their replacements by those of the removed nodes."""
    fixed = {name for node in function.node_def for name in _colocated(node)}
    replaced, first, kept = {}, {}, []
    for node in function.node_def:
        node.input[:] = [_renamed(name, replaced) for name in node.input]
        attributes = ((name, value.SerializeToString(deterministic=True)) for name, value in node.attr.items())
        key = (node.op, node.device, *node.input, *sorted(attributes))
        if key in first and node.name not in fixed and is_stateless(node.op) and _GRADIENT not in node.attr:
            replaced[node.name] = first[key]
        else:
            first.setdefault(key, node.name)
            kept.append(node)
    del function.node_def[:]
    function.node_def.extend(kept)
    for node in function.node_def:
        # Those that come before the nodes that were replaced, if there are any.
        node.input[:] = [_renamed(name, replaced) for name in node.input]
    for returned in (function.ret, function.control_ret):
        for name, source in returned.items():
            returned[name] = _renamed(source, replaced)
    return replaced


def _renamed(tensor: str, replaced: Mapping[str, str]) -> str:
    """Returns the name of a tensor, `node:output:0`, or of a control input, `^node`, after nodes were replaced."""
    control = "^" if tensor.startswith("^") else ""
    node, *output = tensor.removeprefix(control).split(":")
    return control + ":".join([replaced.get(node, node), *output])


def _colocated(node: node_def_pb2.NodeDef) -> list[str]:
    """Returns the names of the nodes that `node` is placed with."""
    places = node.attr[_COLOCATION].list.s if _COLOCATION in node.attr else ()
    return [place.decode().removeprefix("loc:@") for place in places]


def _reachable(names: Iterable[str], functions: Iterable[function_pb2.FunctionDef]) -> set[str]:
    """Returns `names` and the names of all functions that they call, directly or indirectly."""
    calls = {function.signature.name: set(_called(function.node_def)) for function in functions}
    found, pending = set(), list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += calls.get(name, ())
    return found


def _called(nodes: Iterable[node_def_pb2.NodeDef]) -> Iterable[str]:
    for node in nodes:
        yield node.op
        for value in node.attr.values():
            yield value.func.name
            yield from (function.name for function in value.list.func)
