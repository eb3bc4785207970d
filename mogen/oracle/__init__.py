"""Measuring under a budget: what was paid for once is never paid for again."""

from mogen.oracle.executor import Executor as Executor
from mogen.oracle.executor import Outcome as Outcome
from mogen.oracle.executor import SerialExecutor as SerialExecutor
from mogen.oracle.ledger import AskedRow as AskedRow
from mogen.oracle.ledger import Ledger as Ledger
from mogen.oracle.ledger import Row as Row
from mogen.oracle.oracle import History as History
from mogen.oracle.oracle import Oracle as Oracle
from mogen.oracle.process_executor import ProcessExecutor as ProcessExecutor
