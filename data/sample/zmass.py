"""A job for the sample: the mass of the two leading muons of each selected event, as new events.

tagsel submit z.events --run data/sample/zmass.py --output user.Zmumu.EVENTS
"""

import numpy as np

branches = ["Muon_pt", "Muon_eta", "Muon_phi", "MET_pt"]


def process(events):
    """Events with the dimuon mass in GeV (muon masses neglected), the leading muon's pt and the missing momentum."""
    pt, eta, phi = (events[f"Muon_{name}"] for name in ("pt", "eta", "phi"))
    eta_gap, phi_gap = eta[:, 0] - eta[:, 1], phi[:, 0] - phi[:, 1]
    events["Z_mass"] = np.sqrt(2 * pt[:, 0] * pt[:, 1] * (np.cosh(eta_gap) - np.cos(phi_gap)))
    events["lead_pt"] = pt[:, 0]
    return events[["run", "lumi", "event", "Z_mass", "lead_pt", "MET_pt"]]
