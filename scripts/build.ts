/**
 * Makes `dist`: declarations, a file for each of the source; and code, in few files, as each that a program imports costs its start a third
 * of a millisecond.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { rolldown } from 'rolldown'

const ROOT = join(import.meta.dirname, '..')
const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, string>
}

rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' })
if (status !== 0) process.exit(1)

const entries = Object.values(exports)
  .filter((file) => file.endsWith('.js'))
  .map((file) => file.slice('./dist/'.length, -'.js'.length))
const bundle = await rolldown({
  cwd: ROOT,
  input: Object.fromEntries(entries.map((entry) => [entry, `./src/${entry}.ts`])),
  platform: 'node',
  external: /^[^./]/,
})
await bundle.write({ dir: join(ROOT, 'dist'), chunkFileNames: 'chunks/[name].js', comments: false })
await bundle.close()
