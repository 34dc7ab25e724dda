import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { startChild } from '../support/child.ts'
import type { AppOptions, Measures, Question } from './app.ts'

/** A running {@link AppOptions app}, in a process of its own. */
export interface App {
  readonly port: number
  readonly pid: number
  ask(question: Question): Promise<Measures>
  /** Sends the process a signal, and waits for nothing. */
  kill(signal: NodeJS.Signals): void
  /** Resolves when the process has ended: to how, and to what it wrote on stderr. */
  readonly ended: Promise<Ending>
  /** Has the app end by itself, as a server does that is told to: by SIGTERM. */
  stop(): Promise<Ending>
}

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

/** Starts an app, and waits until it listens. It ends with the test process at the latest. */
export async function startApp(options: AppOptions, settings: AppSettings = {}): Promise<App> {
  const { nodeArgs = [], env = {} } = settings
  const program = fileURLToPath(new URL('app.ts', import.meta.url))
  const args = ['--unhandled-rejections=strict', '--expose-gc', ...nodeArgs, program, JSON.stringify(options)]
  const child = startChild(process.execPath, args, {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    env: { ...process.env, ...env },
  })
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }) as Ending)
  const port = await Promise.race([listening(child), ended.then(diedAtStart)])

  let turn: Promise<unknown> = Promise.resolve()
  const ask = async (question: Question): Promise<Measures> => {
    child.send(question, () => {})
    const dead = ended.then(() => {
      throw new Error('The app has ended.')
    })
    const [measures] = (await Promise.race([once(child, 'message'), dead])) as [Measures]
    return measures
  }
  return {
    port,
    pid: child.pid!,
    ended,
    // One question at a time: answers bear no name.
    ask: (question) => {
      const answer = turn.then(() => ask(question))
      turn = answer.catch(() => {})
      return answer
    },
    kill: (signal) => void child.kill(signal),
    stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}

/** How the process is run. */
export interface AppSettings {
  nodeArgs?: readonly string[]
  env?: Readonly<Record<string, string>>
}

async function listening(child: ChildProcess): Promise<number> {
  const [{ listening }] = (await once(child, 'message')) as [{ listening: number }]
  return listening
}

function diedAtStart({ code, signal, stderr }: Ending): never {
  throw new Error(`The app ended before it listened, with ${code ?? signal}:\n${stderr}`)
}
