import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import { rolldown } from 'rolldown'
import { describe, expect, test } from 'vitest'

import { ROOT } from './installed.ts'

const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, string>
}

/**
 * What each entry may weigh, in bytes, minified and gzipped: the core as a whole, the others what they add to it. Each is what it weighs at
 * present, rounded up to the next hundred: whoever has to raise one says in the commit what for.
 */
const BUDGETS: Readonly<Record<string, number>> = {
  '.': 27_800,
  './crossws': 1400,
  './express': 2300,
  './fetch': 900,
  './hono': 1100,
  './hono-ws': 1400,
  './node': 2300,
  './redis': 6950,
  './socket.io': 1800,
  './sqlite': 3200,
  './sse': 800,
  './ws': 1500,
}

describe('the size of', () => {
  test.each(Object.entries(BUDGETS))('%s stays within its budget', async (entry, budget) => {
    const core = await bundledSize(exports['.']!)
    const size = entry === '.' ? core : (await bundledSize(exports['.']!, exports[entry]!)) - core
    expect(size).toBeLessThanOrEqual(budget)
    expect(size, 'a budget this loose notices nothing').toBeGreaterThan(budget - 500)
  })

  test('every entry has a budget, but what is for tests', () => {
    const others = ['./package.json', './testing']
    expect(Object.keys(BUDGETS).toSorted()).toEqual(
      Object.keys(exports)
        .filter((entry) => !others.includes(entry))
        .toSorted(),
    )
  })
})

/** Bytes of some modules in one bundle, minified and gzipped; what is the runtime's or the user's stays outside. */
async function bundledSize(...files: string[]): Promise<number> {
  const source = files.map((file, i) => `export * as entry${i} from ${JSON.stringify(join(ROOT, file))}`)
  const bundle = await rolldown({
    input: 'all',
    platform: 'node',
    external: (id) => id !== 'all' && !/^[./]/.test(id),
    plugins: [
      {
        name: 'all',
        resolveId: (id) => (id === 'all' ? id : null),
        load: (id) => (id === 'all' ? source.join('\n') : null),
      },
    ],
  })
  const { output } = await bundle.generate({ minify: true })
  await bundle.close()
  return gzipSync(output[0].code, { level: 9 }).length
}
