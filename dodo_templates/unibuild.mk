# unibuild.mk: `make boot` and its like, done by unibuild. `unibuild init --make` wrote it. Needs GNU make 3.82.
#
#   make boot                           build what is stale, boot the domain, show its console
#   make watch                          the same on every save
#   make console                        show the console of the domain that runs
#   make destroy                        end the domain
#   make lab-up, make lab-down          start the lab, end it
#   make boot UNIBUILD_ARGS="host=lab"  more words for the command line of unibuild
#
# It can be included anywhere: the default goal stays what it is. To leave goals out, set UNIBUILD_GOALS before.

UNIBUILD ?= unibuild
UNIBUILD_GOALS ?= boot watch console destroy lab-up lab-down

_unibuild_default := $(.DEFAULT_GOAL)

# The first word of MAKEFLAGS holds the options of one letter: -n, -q and -t promise that nothing is built.
_unibuild_dry = $(if $(strip $(foreach o,n q t,$(findstring $(o),$(firstword -$(MAKEFLAGS))))),--dry-run)

.PHONY: $(UNIBUILD_GOALS)

# The + hands the jobserver on to the make that builds the kernel; it also runs the line when -n is given.
$(filter boot watch,$(UNIBUILD_GOALS)):
	+@$(UNIBUILD) $(_unibuild_dry) $@ $(UNIBUILD_ARGS)

$(filter console destroy,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) $@ $(UNIBUILD_ARGS)

$(filter lab-up,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) lab up $(UNIBUILD_ARGS)

$(filter lab-down,$(UNIBUILD_GOALS)):
	@$(UNIBUILD) lab down

.DEFAULT_GOAL := $(_unibuild_default)
