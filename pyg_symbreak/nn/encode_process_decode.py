"""Graph networks that take as many steps as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import MetaLayer
from torch_geometric.utils import scatter

__all__ = ["EncodeProcessDecode"]


def _mlp(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.LayerNorm(hidden)
    )


class _EdgeModel(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = _mlp(7 * hidden, hidden)

    def forward(self, source: Tensor, target: Tensor, edge: Tensor, graph: Tensor, batch: Tensor) -> Tensor:
        return self.mlp(torch.cat([source, target, edge, graph[batch]], dim=1))


class _NodeModel(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = _mlp(4 * hidden, hidden)

    def forward(self, x: Tensor, edge_index: Tensor, edge: Tensor, graph: Tensor, batch: Tensor) -> Tensor:
        received = scatter(edge, edge_index[1], dim_size=len(x), reduce="max")
        return self.mlp(torch.cat([x, received, graph[batch]], dim=1))


class _GlobalModel(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = _mlp(3 * hidden, hidden)

    def forward(self, x: Tensor, edge_index: Tensor, edge: Tensor, graph: Tensor, batch: Tensor) -> Tensor:
        nodes = scatter(x, batch, dim_size=len(graph), reduce="mean")
        edges = scatter(edge, batch[edge_index[0]], dim_size=len(graph), reduce="mean")
        return self.mlp(torch.cat([graph, nodes, edges], dim=1))


class EncodeProcessDecode(nn.Module):
    r"""A graph network: an encoder, one block of messages used again and again, and a decoder after each step.

    The block is PyG's :class:`~torch_geometric.nn.MetaLayer`, which updates edges, nodes and the graph in turn. A node
    takes the largest of what its edges bring, as in the Bellman-Ford algorithm; the graph takes means, which do not
    grow with it. The block is given the encoding beside the latest state, so that steps can be added after training.
    Numbering the nodes in another way numbers the answer in that way, so that what an automorphism exchanges gets the
    same answer: the way out is an object among the features.

    P. W. Battaglia et al., "Relational inductive biases, deep learning, and graph networks", arXiv 1806.01261.

    Parameters
    ----------
    node_in, edge_in : int
        Numbers given for each node and edge.
    node_out, edge_out : int
        Numbers wanted for each.
    hidden : int
        Width of all perceptrons.

    Shapes:
        - **input:** x :math:`(N, F_x)`, edge_index :math:`(2, E)`, edge_attr :math:`(E, F_e)`, batch :math:`(N)`
          (default: one graph)
        - **output:** for each step the answers for nodes :math:`(N, O_x)` and for edges :math:`(E, O_e)`; a loss on
          all of them trains networks that go on

    Examples
    --------
    >>> model = EncodeProcessDecode(node_in=1, edge_in=1, node_out=2, edge_out=2)
    >>> ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    >>> answers = model(torch.ones(3, 1), ring, torch.ones(3, 1), steps=4)
    >>> len(answers), answers[-1][0].shape, answers[-1][1].shape
    (4, torch.Size([3, 2]), torch.Size([3, 2]))
    """

    def __init__(self, node_in: int, edge_in: int, node_out: int, edge_out: int, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.encode_node, self.encode_edge = _mlp(node_in, hidden), _mlp(edge_in, hidden)
        self.process = MetaLayer(_EdgeModel(hidden), _NodeModel(hidden), _GlobalModel(hidden))
        self.decode_node, self.decode_edge = nn.Linear(hidden, node_out), nn.Linear(hidden, edge_out)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                module.reset_parameters()

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor | None = None, steps: int = 10
    ) -> Sequence[tuple[Tensor, Tensor]]:
        """The answers after each step."""
        batch = edge_index.new_zeros(len(x)) if batch is None else batch
        first = self.encode_node(x), self.encode_edge(edge_attr)
        graphs = int(batch.max()) + 1 if len(batch) else 0
        now = (*first, x.new_zeros(graphs, self.hidden))
        answers = []
        for _ in range(steps):
            inputs = [torch.cat(pair, dim=1) for pair in zip(first, now, strict=False)]
            now = self.process(inputs[0], edge_index, inputs[1], now[2], batch)
            answers.append((self.decode_node(now[0]), self.decode_edge(now[1])))
        return answers

    def __repr__(self) -> str:
        sizes = self.encode_node[0].in_features, self.encode_edge[0].in_features
        return f"{self.__class__.__name__}({sizes}, ({self.decode_node.out_features}, {self.decode_edge.out_features}))"
