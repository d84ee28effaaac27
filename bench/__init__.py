"""The benchmark: questions of physicists, answered by tagsel and by rivals, checked equal, then timed in turns."""
