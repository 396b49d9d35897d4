"""Why a domain died, or hangs: its console, its registers and stack, and the folder that holds what was found."""
