"""Good-run lists: sets of luminosity blocks, their algebra, and their files (ATLAS XML, CMS JSON)."""

from tagsel.quality.files import read_lumi, write_lumi
from tagsel.quality.forms import FORMS, format_lumi, parse_lumi
from tagsel.quality.lumi import LumiSet

__all__ = ["FORMS", "LumiSet", "format_lumi", "parse_lumi", "read_lumi", "write_lumi"]
