# SPDX-License-Identifier: GPL-3.0-or-later
# What a type checker knows of the packaged registry; a test holds it against daemons.json.
# For a name of your own site: `registry.Daemon[ChillerClient]`, or plain `daemons.my_chiller` and an untyped client.
from rockit.boiler.client import Client as BoilerClient
from rockit.chiller.client import Client as ChillerClient
from rockit.common.registry import Daemon
from rockit.common.remote.client import UntypedClient
from rockit.meter.client import Client as MeterClient

clasp_chiller: Daemon[ChillerClient]
clasp_boiler: Daemon[BoilerClient]
clasp_meter: Daemon[MeterClient]

def __getattr__(name: str) -> Daemon[UntypedClient]: ...
