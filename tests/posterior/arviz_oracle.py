"""ArviZ, whichever is installed, without its notices; and a mark for comparisons that only ArviZ 0 makes to the last digit."""

import pytest

from iclbayes.posterior.arviz import import_arviz

az = import_arviz()
OLD = int(az.__version__.split(".")[0]) < 1
only_arviz_0 = pytest.mark.skipif(not OLD, reason="ArviZ 1 fits tails and counts draws a little otherwise")
