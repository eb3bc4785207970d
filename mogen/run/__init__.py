"""One run on disk: its folder, its seeds, its versions, its progress."""

from mogen.run.directory import RunFolder as RunFolder
from mogen.run.directory import plain as plain
from mogen.run.directory import read_json as read_json
from mogen.run.directory import write_json as write_json
from mogen.run.directory import write_text as write_text
from mogen.run.machine import compiler as compiler
from mogen.run.machine import gemm_rate as gemm_rate
from mogen.run.progress import Progress as Progress
from mogen.run.seeds import seeded as seeded
from mogen.run.seeds import stage_generator as stage_generator
from mogen.run.seeds import stage_seed as stage_seed
from mogen.run.versions import versions as versions
