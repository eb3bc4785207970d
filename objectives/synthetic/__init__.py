"""Problems made of formulas, whose answers are known."""

from objectives.synthetic.hypergrid import Beale as Beale
from objectives.synthetic.hypergrid import Branin as Branin
from objectives.synthetic.hypergrid import Corners as Corners
from objectives.synthetic.hypergrid import Currin as Currin
from objectives.synthetic.hypergrid import Shubert as Shubert
from objectives.synthetic.hypergrid import Sphere as Sphere
