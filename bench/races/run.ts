/**
 * The same races, run against Holdfast and against other libraries side by side: each in its documented set-up, as two server processes over one
 * Redis, steered by events and not by time. Prints what was lost, and writes it to results.json and results.md.
 *
 *     npm install && node run.ts [--rounds 50]
 */
import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { CookieJar } from '../../src/testing/cookie-jar.ts'
import { startRedis } from '../../test/support/redis-server.ts'
import { SET_UPS } from './set-ups.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '50' } } })
const ROUNDS = Number(values.rounds)
const PARALLEL = 50

/** What went wrong, out of how often it could have. */
interface Count {
  wrong: number
  of: number
}

/** The two processes of a set-up. */
class Servers {
  readonly #children: readonly ChildProcess[]
  readonly #ports: readonly number[]
  #turn = 0
  #waiting = 0
  #heard: () => void = () => {}

  static async start(name: string, redisUrl: string): Promise<Servers> {
    const children = [0, 1].map(() => fork(join(import.meta.dirname, 'server.ts'), [name, redisUrl]))
    const ports = await Promise.all(
      children.map(async (child) => ((await once(child, 'message')) as [{ port: number }])[0].port),
    )
    return new Servers(children, ports)
  }

  constructor(children: readonly ChildProcess[], ports: readonly number[]) {
    this.#children = children
    this.#ports = ports
    for (const child of children)
      child.on('message', () => {
        this.#waiting++
        this.#heard()
      })
  }

  /** Sends a request to one process and the next to the other; gives its body, or null where it was not answered by 200. */
  async get(jar: CookieJar, path: string): Promise<string | null> {
    const url = `http://127.0.0.1:${this.#ports[this.#turn++ % this.#ports.length]}${path}`
    const cookie = jar.header(url)
    const response = await fetch(url, { headers: cookie === null ? {} : { cookie } })
    jar.store(response.headers.getSetCookie(), url)
    const body = await response.text()
    return response.status === 200 ? body : null
  }

  /** Resolves when so many requests wait at the gate. */
  async wait(requests: number): Promise<void> {
    while (this.#waiting < requests) await new Promise<void>((resolve) => (this.#heard = resolve))
    this.#waiting = 0
  }

  /** Lets all of them go on. */
  go(): void {
    for (const child of this.#children) child.send('go')
  }

  async stop(): Promise<void> {
    for (const child of this.#children) {
      child.disconnect()
      await once(child, 'exit')
    }
  }
}

const SCENARIOS: Readonly<Record<string, (servers: Servers) => Promise<Count>>> = {
  /** Requests that have all loaded the session before any of them changes it: each a key of its own. */
  'parallel keys, writes lost': async (servers) => {
    const { acknowledged, data } = await inParallel(servers, (i) => `/set/key${i}`)
    return { wrong: acknowledged.filter((i) => !(`key${i}` in data)).length, of: acknowledged.length }
  },

  'parallel counter, increments lost': async (servers) => {
    const { acknowledged, data } = await inParallel(servers, () => '/add')
    return { wrong: acknowledged.length - Number(data['count'] ?? 0), of: acknowledged.length }
  },

  'sign-out in a slow write, sessions risen': (servers) => signOutDuring(servers, '/set/late'),
  'sign-out in a slow read, sessions risen': (servers) => signOutDuring(servers, '/read'),
}

async function inParallel(servers: Servers, pathOf: (i: number) => string) {
  const jar = await signIn(servers)
  const answers = Promise.all(Array.from({ length: PARALLEL }, (_, i) => servers.get(jar, pathOf(i))))
  await servers.wait(PARALLEL)
  servers.go()
  const acknowledged = (await answers).flatMap((body, i) => (body === null ? [] : [i]))
  return { acknowledged, data: JSON.parse((await servers.get(jar, '/data'))!) as Record<string, unknown> }
}

/** A request has loaded the session when a sign-out from another tab is carried out, and answered; then it goes on. */
async function signOutDuring(servers: Servers, path: string): Promise<Count> {
  const jar = await signIn(servers)
  const cookie = jar.header('http://127.0.0.1')
  const slow = servers.get(jar, path)
  await servers.wait(1)
  if ((await servers.get(jar, '/sign-out')) === null) throw new Error('The sign-out failed.')
  servers.go()
  await slow
  // Whoever has a copy of the cookie, and the browser with the one that it holds by now.
  const copy = new CookieJar()
  copy.store([cookie!], 'http://127.0.0.1')
  const isSignedIn = (await isVera(servers, copy)) || (await isVera(servers, jar))
  return { wrong: Number(isSignedIn), of: 1 }
}

/** A browser in which vera is signed in. */
async function signIn(servers: Servers): Promise<CookieJar> {
  const jar = new CookieJar()
  await servers.get(jar, '/sign-in')
  if (!(await isVera(servers, jar))) throw new Error('The sign-in failed.')
  return jar
}

async function isVera(servers: Servers, jar: CookieJar): Promise<boolean> {
  const body = await servers.get(jar, '/data')
  return body !== null && (JSON.parse(body) as { user?: unknown }).user === 'vera'
}

const results: Record<string, Record<string, Count>> = {}
for (const name of Object.keys(SET_UPS)) {
  const redis = await startRedis()
  const servers = await Servers.start(name, redis.url)
  results[name] = {}
  for (const [scenario, race] of Object.entries(SCENARIOS)) {
    const total: Count = { wrong: 0, of: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const { wrong, of } = await race(servers)
      total.wrong += wrong
      total.of += of
    }
    results[name][scenario] = total
  }
  await servers.stop()
  await redis.stop()
}

const { dependencies } = JSON.parse(readFileSync(join(import.meta.dirname, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>
}
const columns = Object.keys(SCENARIOS)
const table = tableOf([
  ['', ...columns],
  ...Object.entries(results).map(([name, counts]) => [
    name,
    ...Object.values(counts).map(({ wrong, of }) => `${wrong} of ${of}`),
  ]),
])
console.log(table)

const versions = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`)
const about = `${ROUNDS} rounds of each; two server processes over one Redis; Node ${process.version.slice(1)}; ${versions.join(', ')}.`
write('results.md', `${table}\n\n${about}\n`)
const machine = { node: process.version, rounds: ROUNDS, parallel: PARALLEL, dependencies }
write('results.json', `${JSON.stringify({ date: new Date().toISOString(), ...machine, results }, null, 2)}\n`)

/** A table in Markdown, its first row the head: the first column to the left, the others to the right. */
function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)))
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const [head, ...body] = rows.map((row) =>
    line(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))),
  )
  const rule = line(widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)))
  return [head, rule, ...body].join('\n')
}

function write(file: string, content: string): void {
  writeFileSync(join(import.meta.dirname, file), content)
}
