import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { freePort } from '../support/free-port.ts'
import { COMPANIONS, InstalledPackage, ROOT } from './installed.ts'

/** The programs of the README, by the heading that they stand under, in order. */
const programs = [
  ...readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/^#+ (.+)$|^```ts\n([\s\S]+?)^```$/gm),
]
  .reduce<{ heading: string; code: string }[]>((found, [, heading, code]) => {
    const last = found.at(-1)
    if (heading !== undefined) return [...found, { heading, code: '' }]
    return last === undefined ? found : [...found, { heading: last.heading, code: code! }]
  }, [])
  .filter(({ code }) => code.includes('import '))

let installed: InstalledPackage

beforeAll(() => {
  installed = new InstalledPackage()
  installed.link(...COMPANIONS)
})

afterAll(() => installed.remove())

describe('the programs of the README', () => {
  test('are all found', () => {
    expect(programs.map(({ heading }) => heading)).toEqual(
      expect.arrayContaining(['Express', 'Hono', 'node:http', 'Stores', expect.stringContaining('Request')]),
    )
  })

  test('compile as they stand, as strictly as can be', () => {
    const files = programs.map(({ code }, i) => {
      installed.write(`readme-${i}.ts`, code)
      return `readme-${i}.ts`
    })
    expect(installed.compile(files)).toEqual([])
  })

  test.each([
    'Express',
    'Hono',
    'node:http',
    '`Request` → `Response`: Bun, Deno, Workers, Next.js, SvelteKit',
  ])('count visits when run: %s', async (heading) => {
    const { code } = programs.find((program) => program.heading === heading)!
    const port = await freePort()
    installed.write('program.ts', code.replace('3000', String(port)))
    // A program either listens by itself, or has a fetch handler for a server to call.
    installed.write(
      'visit.ts',
      `const { default: server } = await import('./program.ts') as { default?: { fetch(request: Request): Promise<Response> } }
         const url = 'http://localhost:${port}/'
         const visit = (cookie: string) => {
           const request = new Request(url, { headers: { cookie } })
           return server ? server.fetch(request) : fetch(request)
         }
         const first = await visit('')
         const [line] = first.headers.getSetCookie()
         const second = await visit(line!.split(';')[0]!)
         console.log(await first.text(), await second.text())
         process.exit()`,
    )
    const env = { ...process.env, NODE_ENV: 'development' }
    const { stdout } = await promisify(execFile)(process.execPath, ['visit.ts'], { cwd: installed.app, env })
    expect(stdout).toBe('Visit 1 Visit 2\n')
  })
})
