/** Part `start`: what it takes to import each entry, how large it is, and how many packages its install adds. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import { build } from 'esbuild'

import type { Progress } from '../report/progress.ts'
import type { Spread } from '../report/stats.ts'
import { spreadOf } from '../report/stats.ts'

export interface Entry {
  readonly name: string
  /** Milliseconds of CPU time until it is imported, in a process that has just started. */
  readonly importing: Spread
  /** Bytes, minified and gzipped: with all that it imports, and what it adds to the core. Null for other libraries, which are not bundled. */
  readonly bytes: number | null
  readonly own: number | null
  /** Packages that an install adds. */
  readonly packages: number
}

/** Entries, and what is installed for them. */
const ENTRIES: Readonly<Record<string, readonly string[]>> = {
  holdfast: ['holdfast'],
  'holdfast/node': ['holdfast'],
  'holdfast/express': ['holdfast'],
  'holdfast/hono': ['holdfast'],
  'holdfast/fetch': ['holdfast'],
  'holdfast/sqlite': ['holdfast'],
  'holdfast/redis': ['holdfast', 'redis'],
  'express-session': ['express-session'],
  'connect-redis': ['express-session', 'connect-redis', 'redis'],
  'cookie-session': ['cookie-session'],
  '@fastify/session': ['@fastify/session', '@fastify/cookie'],
  '@mgcrea/fastify-session': ['@mgcrea/fastify-session', '@fastify/cookie'],
  '@fastify/secure-session': ['@fastify/secure-session'],
  'hono-sessions': ['hono-sessions'],
  'koa-session': ['koa-session'],
  'iron-session': ['iron-session'],
  'react-router': ['react-router', 'react'],
}

export async function measureStart(rounds: number, progress: Progress): Promise<Entry[]> {
  const names = Object.keys(ENTRIES)
  progress.expect(names.length * rounds)
  const times = new Map<string, number[]>(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const name of names) {
      progress.say(name)
      times.get(name)!.push(importTime(name))
      progress.step()
    }
  const core = await bundled('holdfast')
  return Promise.all(
    names.map(async (name) => {
      const isOurs = name.startsWith('holdfast')
      const bytes = isOurs ? await bundled('holdfast', name) : null
      return {
        name,
        importing: spreadOf(times.get(name)!),
        bytes: name === 'holdfast' ? core : bytes,
        own: bytes === null || name === 'holdfast' ? null : bytes - core,
        packages: packagesOf(ENTRIES[name]!).size,
      }
    }),
  )
}

const HERE = join(import.meta.dirname, '..')

function importTime(name: string): number {
  const program = `const before = process.cpuUsage(); await import('${name}')
    const { user, system } = process.cpuUsage(before); console.log((user + system) / 1000)`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: HERE,
    encoding: 'utf8',
  })
  if (stdout === '') throw new Error(stderr)
  return Number(stdout)
}

/** Bytes of some entries in one bundle, minified and gzipped; what is the runtime's or the user's stays outside. */
async function bundled(...names: string[]): Promise<number> {
  const { outputFiles } = await build({
    stdin: {
      contents: names.map((name, i) => `export * as e${i} from '${name}'`).join('\n'),
      resolveDir: HERE,
    },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'es2024',
    external: ['hono', 'hono/*', 'redis'],
  })
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length
}

interface Locked {
  readonly dependencies?: Record<string, string>
}

/** All that an install of some packages brings, by the lock file. */
function packagesOf(names: readonly string[]): ReadonlySet<string> {
  const { packages } = JSON.parse(readFileSync(join(HERE, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  const found = new Set<string>()
  const visit = (name: string, from: string): void => {
    if (name === 'holdfast') return void found.add(name)
    // As Node looks for it: in the folder of whoever asks, and upwards.
    for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
      const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`
      const locked = packages[path]
      if (locked !== undefined) {
        if (found.has(path)) return
        found.add(path)
        for (const dependency of Object.keys(locked.dependencies ?? {})) visit(dependency, path)
        return
      }
      if (folder === '') return
    }
  }
  for (const name of names) visit(name, '')
  return found
}
