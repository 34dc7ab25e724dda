import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'

/** The measured process has one core to itself; the load, and Redis, share the other. */
export const LOADED_CORE = 0
export const LOADING_CORE = 1

/** Keeps a process to one core, where the system can do that. */
export function keepToCore(pid: number, core: number): void {
  if (cpus().length > 1)
    spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(pid)])
}
