"""Active learning: believe, propose, select, measure, learn."""

from mogen.loop.active import ActiveLoop as ActiveLoop
from mogen.loop.active import Round as Round
from mogen.loop.library import Library as Library
from mogen.loop.proposer import Genetic as Genetic
from mogen.loop.proposer import LibraryProposer as LibraryProposer
from mogen.loop.proposer import Proposer as Proposer
from mogen.loop.proposer import SamplerProposer as SamplerProposer
from mogen.loop.runner import LoopSampler as LoopSampler
from mogen.loop.source import LibrarySource as LibrarySource
from mogen.loop.source import ListSource as ListSource
from mogen.loop.source import SamplerSource as SamplerSource
from mogen.loop.source import Source as Source
from mogen.loop.strategy import BelieveAndChoose as BelieveAndChoose
from mogen.loop.strategy import Evolve as Evolve
from mogen.loop.strategy import PickRandomly as PickRandomly
from mogen.loop.strategy import Strategy as Strategy
from mogen.loop.table import Measurements as Measurements
from mogen.loop.table import read_measurements as read_measurements
from mogen.loop.variation import Variation as Variation
