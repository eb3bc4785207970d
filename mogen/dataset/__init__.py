"""Named data sets: a local folder, a checked download, or a file the user brings."""

from mogen.dataset.dataset import DATASETS as DATASETS
from mogen.dataset.dataset import Dataset as Dataset
from mogen.dataset.store import download as download
from mogen.dataset.store import find as find
from mogen.dataset.store import folders as folders
from mogen.dataset.store import import_file as import_file
from mogen.dataset.store import listing as listing
from mogen.dataset.store import sha256 as sha256
