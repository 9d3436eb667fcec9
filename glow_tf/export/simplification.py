"""Simplification of the graphs of a SavedModel, which then takes less memory and time to load.

TensorFlow loads each function with copies of all functions that it calls, directly or indirectly, so that every node
of the model is there once for each function that reaches it.
"""

import pathlib
from collections.abc import Iterable

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
        _keep_outer_gradients(meta)
        _call_directly(meta)
        _keep_needed_functions(meta)
        for function in meta.graph_def.library.function:
            _merge_equal_nodes(function)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _keep_outer_gradients(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Removes the custom gradients of ops inside the branches of a case, or inside other gradients.

    TensorFlow saves every custom gradient, even of ops that are never differentiated on their own, because they are
    part of an op with a custom gradient (see `ServedFlow`) or of such a gradient.
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
    inside = _reachable(branches | {g.gradient_func for g in library.registered_gradients}, library.function)
    for function in library.function:
        if function.signature.name in inside:
            for node in function.node_def:
                node.attr.pop(_GRADIENT, None)
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
        roots.update((*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name))
    needed = _reachable(roots, library.function)
    for name in set(objects.concrete_functions) - needed:
        del objects.concrete_functions[name]
    functions = [function for function in library.function if function.signature.name in needed]
    del library.function[:]
    library.function.extend(functions)


def _merge_equal_nodes(function: function_pb2.FunctionDef) -> None:
    """Replaces nodes that compute the same from the same inputs by the first of them; most are constants."""
    fixed = {name for node in function.node_def for name in _colocated(node)}
    replaced, first = {}, {}

    def renamed(source: str) -> str:
        control, name = ("^", source[1:]) if source.startswith("^") else ("", source)
        name, *output = name.split(":")
        return control + ":".join([replaced.get(name, name), *output])

    kept = []
    for node in function.node_def:
        node.input[:] = map(renamed, node.input)
        if node.name in fixed or _GRADIENT in node.attr or not is_stateless(node.op):
            kept.append(node)
            continue
        attributes = ((name, value.SerializeToString(deterministic=True)) for name, value in node.attr.items())
        key = (node.op, node.device, *node.input, *sorted(attributes))
        if key in first:
            replaced[node.name] = first[key]
        else:
            first[key] = node.name
            kept.append(node)
    del function.node_def[:]
    function.node_def.extend(kept)
    for node in function.node_def:
        # Those that come before the nodes that were replaced, if there are any.
        node.input[:] = map(renamed, node.input)
    for returned in (function.ret, function.control_ret):
        for name, source in returned.items():
            returned[name] = renamed(source)


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
