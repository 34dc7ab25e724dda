import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'

import { atExit } from './at-exit.ts'

/**
 * Starts a program that ends with the test process at the latest: on Linux even where that is killed, by setpriv (of util-linux), which ends
 * with 127 where it finds no such program; elsewhere when it exits.
 */
export function startChild(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const before = process.platform === 'linux' ? ['setpriv', '--pdeathsig', 'KILL'] : []
  const [first, ...rest] = [...before, program, ...args]
  const child = spawn(first!, rest, options)
  const forget = atExit(() => child.kill('SIGKILL'))
  child.once('exit', forget)
  child.once('error', forget)
  return child
}

/** Ends a process by SIGKILL, even one that SIGSTOP froze, and resolves when it has ended. */
export async function endChild(child: ChildProcess): Promise<void> {
  const isRunning = child.pid !== undefined && child.exitCode === null && child.signalCode === null
  if (isRunning && child.kill('SIGKILL')) await once(child, 'exit')
}
