# unibuild.mk: goals for make, such as `make boot`. Written by `unibuild init --make`. Needs GNU make 3.82.
#
#   make boot                           build what is stale, boot the domain, show its console
#   make watch                          the same on every save
#   make console                        show the console of the running domain
#   make destroy                        destroy the domain
#   make lab-up, make lab-down          start and stop the lab
#   make boot UNIBUILD_ARGS="host=lab"  more arguments for unibuild
#
# You can include this file anywhere: the default goal does not change. To leave goals out, set UNIBUILD_GOALS first.

UNIBUILD ?= unibuild
UNIBUILD_GOALS ?= boot watch console destroy lab-up lab-down

_unibuild_default := $(.DEFAULT_GOAL)

# The first word of MAKEFLAGS has the options of one letter: with -n, -q and -t make builds nothing.
_unibuild_dry = $(if $(strip $(foreach o,n q t,$(findstring $(o),$(firstword -$(MAKEFLAGS))))),--dry-run)

.PHONY: $(UNIBUILD_GOALS)

# The + passes the jobserver on to the make that builds the kernel. It also makes make run the line with -n.
$(filter boot watch,$(UNIBUILD_GOALS)):
	+@$(UNIBUILD) $(_unibuild_dry) $@ $(UNIBUILD_ARGS)

$(filter console destroy,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) $@ $(UNIBUILD_ARGS)

$(filter lab-up,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) lab up $(UNIBUILD_ARGS)

$(filter lab-down,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) lab down

.DEFAULT_GOAL := $(_unibuild_default)
