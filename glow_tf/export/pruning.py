"""Removal of unneeded gradients from a SavedModel."""

import pathlib
from collections.abc import Iterable

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

_GRADIENT = "_gradient_op_type"


def keep_outer_gradients(path: pathlib.Path) -> None:
    """Removes the custom gradients of ops inside the branches of a case, or inside other gradients.

    TensorFlow saves every custom gradient, even of ops that are never differentiated on their own, because they are
    part of an op with a custom gradient (see `ServedFlow`) or of such a gradient.

    Args:
      path: path of `saved_model.pb`.
    """
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in model.meta_graphs:
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
        kept = {node.attr[_GRADIENT].s.decode() for nodes in all_nodes for node in nodes if _GRADIENT in node.attr}
        gradients = [g for g in library.registered_gradients if g.registered_op_type in kept]
        for gradient in library.registered_gradients:
            if gradient not in gradients:
                meta.object_graph_def.concrete_functions.pop(gradient.gradient_func, None)
        roots = {*meta.object_graph_def.concrete_functions, *(g.gradient_func for g in gradients)}
        needed = _reachable(roots | set(_called(meta.graph_def.node)), library.function)
        functions = [function for function in library.function if function.signature.name in needed]
        del library.registered_gradients[:], library.function[:]
        library.registered_gradients.extend(gradients)
        library.function.extend(functions)
    path.write_bytes(model.SerializeToString(deterministic=True))


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
