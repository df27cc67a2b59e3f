# SPDX-License-Identifier: GPL-3.0-or-later
"""Remote objects over Pyro5: the only place that knows Pyro."""
