"""The doit tasks of a project: its stages, and the goals that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doit.task import Task

from unibuild.doit_plugin.tasks import OWN_TERMINAL, DomainUpToDate, OwnFileDep, as_action, group_by_goal, stage_tasks
from unibuild.doit_plugin.tree_lock import TreeLock
from unibuild.doit_plugin.usage import OPTIONS, SHARED
from unibuild.graph.graph import GOALS
from unibuild.host import resolve
from unibuild.settings.hosts import ALL, at
from unibuild.util.interrupts import exit_on_termination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.graph.graph import Graph
    from unibuild.settings.ami import Via
    from unibuild.settings.loader import Project

__all__ = ["later_tasks", "tasks", "tasks_for_all", "watch_task"]


_OF_ONE_HOST = ("publish_ami", "launch_ami", "redeploy")  # an image contains the command line of one host's .xl


def tasks(graph: Graph) -> list[Task]:
    """Return the doit tasks of a project up to ``boot``, in the graph's order.

    After this call, TERM and HUP shut the process down in an orderly way.
    """
    exit_on_termination()
    guard = TreeLock(graph.project.root)
    return [
        *group_by_goal(stage_tasks(graph, guard)),
        _boot_task(graph, guard),
        _publish_task(graph, guard),
        _launch_task(graph, guard, "launch_ami"),
        _launch_task(graph, guard, "redeploy"),
    ]


def tasks_for_all(graphs: Sequence[Graph], project: Project) -> list[Task]:
    """Return the doit tasks of ``--host all``: each stage once, and ``boot`` on all hosts at the same time.

    Args:
        graphs: the graph of each host.
        project: the project; its setting ``host`` is ``all``.
    """
    exit_on_termination()
    guard = TreeLock(project.root)
    stages = {task.name: task for graph in graphs for task in stage_tasks(graph, guard)}
    boot = _everywhere_task(project, "boot", guard)
    boot.file_dep.add(OwnFileDep(graphs[0].kernel))
    return [*group_by_goal(list(stages.values())), boot, *(_refused_task(project, goal) for goal in _OF_ONE_HOST)]


def later_tasks(project: Project) -> list[Task]:
    """Return the tasks of the goals in ``BUILT_ALREADY``, which work even if the tree cannot be built."""
    exit_on_termination()
    is_one = project.settings.host != ALL
    first = next(iter(project.settings.hosts), None)
    first_host = project if is_one or first is None else at(project, first)  # both goals report on every host anyway
    return [
        _console_task(project),
        _destroy_task(project) if is_one else _everywhere_task(project, "destroy"),
        _telling_task(first_host, "status"),
        _telling_task(first_host, "history"),
        _rollback_task(project) if is_one else _everywhere_task(project, "rollback"),
    ]


def _boot_task(graph: Graph, guard: TreeLock) -> Task:
    def act(wait: float | None) -> None:
        from unibuild.deploy import boot

        guard.release()
        project = graph.project if wait is None else _waiting(graph.project, wait)
        boot.boot(project, graph.xl, graph.kernel)

    return Task(
        "boot",
        [as_action(act)],
        file_dep=[OwnFileDep(graph.kernel)],  # not the .xl, which differs for each host: doit would see a change
        task_dep=["xl"],
        uptodate=[DomainUpToDate(graph)],
        params=[*OPTIONS["boot"], *SHARED],
        doc=GOALS["boot"],
        **OWN_TERMINAL,
    )


def _publish_task(graph: Graph, guard: TreeLock) -> Task:
    def act(planned: bool, via: Via | None) -> None:
        from unibuild.ec2 import publish

        guard.release()
        publish.publish(graph, planned=planned, via=via)

    return Task(
        "publish_ami",
        [as_action(act)],
        file_dep=[OwnFileDep(graph.kernel)],
        task_dep=["xl"],
        uptodate=[False],  # only AWS knows whether the AMI exists
        params=[*OPTIONS["publish_ami"], *SHARED],
        doc=GOALS["publish_ami"],
        **OWN_TERMINAL,
    )


def _launch_task(graph: Graph, guard: TreeLock, goal: str) -> Task:
    """Return the task that publishes and launches: one task, because the launch needs the published AMI."""

    def act(planned: bool, terminate: bool = False) -> None:
        from unibuild.ec2 import launch

        guard.release()
        is_trial = terminate or (goal == "launch_ami" and graph.project.settings.launch.terminate)
        launch.launch_ami(graph, replace=goal == "redeploy", terminate=is_trial, planned=planned)

    return Task(
        goal,
        [as_action(act)],
        file_dep=[OwnFileDep(graph.kernel)],
        task_dep=["xl"],
        uptodate=[False],  # only AWS knows whether the instance is running
        params=[*OPTIONS[goal], *SHARED],
        doc=GOALS[goal],
        **OWN_TERMINAL,
    )


def _console_task(project: Project) -> Task:
    def act() -> None:
        from unibuild.deploy.console_session import console

        console(project)

    return Task("console", [as_action(act)], uptodate=[False], params=SHARED, doc=GOALS["console"], **OWN_TERMINAL)


def _destroy_task(project: Project) -> Task:
    def act() -> None:
        from unibuild.deploy.destroy import destroy

        destroy(project)

    return Task("destroy", [as_action(act)], uptodate=[False], params=SHARED, doc=GOALS["destroy"], **OWN_TERMINAL)


def _telling_task(project: Project, goal: str) -> Task:
    def act(as_json: bool) -> None:
        if goal == "history":
            from unibuild.deploy.history import history

            history(project, as_json=as_json)
            return
        from doit import Globals

        from unibuild.deploy.status import status

        state = Globals.dep_manager.backend
        status(project, lambda name: state.get(name, "_values_:"), as_json=as_json)

    params = [*OPTIONS[goal], *SHARED]
    return Task(goal, [as_action(act)], uptodate=[False], params=params, doc=GOALS[goal], **OWN_TERMINAL)


def _rollback_task(project: Project) -> Task:
    def act(wait: float | None, words: list[str]) -> None:
        from unibuild.deploy.history import rollback

        rollback(project if wait is None else _waiting(project, wait), words)

    return Task(
        "rollback",
        [as_action(act)],
        uptodate=[False],
        params=[*OPTIONS["boot"], *SHARED],
        pos_arg="words",
        doc=GOALS["rollback"],
        **OWN_TERMINAL,
    )


def _refused_task(project: Project, goal: str) -> Task:
    """Return the task of a one-host goal under ``--host all``: it fails with an error that says so."""

    def act(**_: object) -> None:
        resolve.address(project.settings)  # raises

    options = {each["name"]: each for of in _OF_ONE_HOST for each in OPTIONS[of]}
    params = [*options.values(), *SHARED]
    return Task(goal, [as_action(act)], uptodate=[False], params=params, doc=GOALS[goal], **OWN_TERMINAL)


def _everywhere_task(project: Project, goal: str, guard: TreeLock | None = None) -> Task:
    """Return the task of a goal on all named hosts; ``guard`` is the tree's lock if the goal builds first."""

    def act(wait: float | None, words: list[str] | None = None) -> None:
        from unibuild.deploy import all_hosts

        if guard:
            guard.release()
        options = () if wait is None else (f"--wait={wait:g}",)
        all_hosts.run(project, resolve.all_names(project.settings), goal, (*options, *(words or ())))

    return Task(
        goal,
        [as_action(act)],
        task_dep=["xl"] if guard else [],
        uptodate=[False],
        params=[*OPTIONS["boot"], *SHARED],
        pos_arg="words" if goal == "rollback" else None,
        doc=GOALS[goal],
        **OWN_TERMINAL,
    )


def _waiting(project: Project, wait: float) -> Project:
    import dataclasses

    import msgspec

    settings = msgspec.structs.replace(project.settings, boot=msgspec.structs.replace(project.settings.boot, wait=wait))
    return dataclasses.replace(project, settings=settings)


def watch_task(project: Project, dodo: str) -> Task:
    """Return the doit task of the goal ``watch``; ``dodo`` is the path of the ``dodo.py`` on the command line."""

    def act(keep: bool, as_json: bool) -> None:
        from unibuild.watch.run import watch

        watch(project, dodo=dodo, keep=keep, as_json=as_json)

    params = [*OPTIONS["watch"], *SHARED]
    return Task("watch", [as_action(act)], uptodate=[False], params=params, doc=GOALS["watch"], **OWN_TERMINAL)
