"""The network that suits an environment, where none is named."""

from __future__ import annotations

from samplers.environment.atom import AtomEnvironment
from samplers.environment.edit import SequenceEdit
from samplers.environment.environment import Environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.strings import StringEnvironment
from samplers.gflownet.networks.atom import AtomTransformer
from samplers.gflownet.networks.fragment import HistoryTransformer
from samplers.gflownet.networks.mlp import MLP
from samplers.gflownet.networks.sequence import CausalTransformer, EditTransformer
from samplers.gflownet.policy import Network

KINDS: dict[type[Environment], type[Network]] = {
    FragmentEnvironment: HistoryTransformer,
    SequenceEnvironment: CausalTransformer,
    SequenceEdit: EditTransformer,
    AtomEnvironment: AtomTransformer,
    HyperGrid: MLP,
    StringEnvironment: MLP,
}


def default_network(environment: Environment) -> Network:
    """The network of a known environment; for any other one, an MLP over its features."""
    return next((network() for kind, network in KINDS.items() if isinstance(environment, kind)), MLP())
