"""Drives of the program brownout: start one, cut its power, and read what the power loss cost."""

from brownout.drive import Drive, DriveError, Event
from brownout.export import FuseExport, find_storage_daemon
from brownout.report import Change, Report

__all__ = ["Change", "Drive", "DriveError", "Event", "FuseExport", "Report", "find_storage_daemon"]
