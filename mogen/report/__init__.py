"""What a run leaves for a reader: one page, pictures and files other programs open."""

from mogen.report.export import write_candidates as write_candidates
from mogen.report.export import write_front_csv as write_front_csv
from mogen.report.export import write_sdf as write_sdf
from mogen.report.figure import write_front_figure as write_front_figure
from mogen.report.figure import write_hypervolume_figure as write_hypervolume_figure
from mogen.report.folder import RunFolder as RunFolder
from mogen.report.page import write_report as write_report
