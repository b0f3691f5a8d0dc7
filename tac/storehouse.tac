# A storehouse to be run by "twistd -y storehouse.tac".
#
# Options are those of "twistd storehouse --help"; write them here, or into the environment:
#
#     STOREHOUSE_OPTIONS="--root /srv/storehouse" twistd -ny storehouse.tac

import os
import shlex

from storehouse.app.tap import make_application

application = make_application(shlex.split(os.environ.get("STOREHOUSE_OPTIONS", "")))
