import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, resolve } from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { COMPANIONS, InstalledPackage, ROOT } from './installed.ts'

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, string>
  dependencies?: object
}

let installed: InstalledPackage
let app: string
let holdfast: string

beforeAll(() => {
  installed = new InstalledPackage()
  ;({ app, holdfast } = installed)
})

afterAll(() => installed.remove())

describe('the packed package', () => {
  test('needs no other package', () => {
    expect(manifest.dependencies).toBeUndefined()
    expect(readdirSync(join(app, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual([
      'holdfast',
    ])
  })

  test('holds no sources, tests or secrets of the repository', () => {
    const files = readdirSync(holdfast, { recursive: true, encoding: 'utf8' })
    expect(
      files.filter((file) => /\.test\.|(?<!\.d)\.ts$|^(?:src|test|demo|bench)\b|\.env/.test(file)),
    ).toEqual([])
    expect(files).toEqual(
      expect.arrayContaining(['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.d.ts']),
    )
  })

  test('loads every entry that needs no driver or framework, on this runtime', () => {
    const entries = [
      'holdfast',
      'holdfast/crossws',
      'holdfast/express',
      'holdfast/fetch',
      'holdfast/node',
      'holdfast/hono-ws',
      'holdfast/redis',
      'holdfast/socket.io',
      'holdfast/sqlite',
      'holdfast/sse',
      'holdfast/testing',
      'holdfast/ws',
    ]
    const script = entries.map((entry) => `await import(${JSON.stringify(entry)})`).join('\n')
    execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: app })
  })

  test("has a core that imports the runtime's own modules and nothing else", () => {
    const { modules, others } = importGraph(join(holdfast, 'dist/index.js'))
    expect(others.filter((name) => !builtinModules.includes(name.replace(/^node:/, '')))).toEqual([])
    expect(modules.filter((file) => /adapters|redis|sqlite|testing/.test(file))).toEqual([])
  })

  test.each(Object.entries(manifest.exports).filter(([entry]) => entry !== './package.json'))(
    'has code and types for %s',
    (_entry, file) => {
      expect(readFileSync(join(holdfast, file), 'utf8')).not.toBe('')
      expect(readFileSync(join(holdfast, file.replace(/\.js$/, '.d.ts')), 'utf8')).not.toBe('')
    },
  )

  test('compiles in a strict program outside the repository that uses every entry', () => {
    installed.link(...COMPANIONS)
    cpSync(join(import.meta.dirname, 'program.ts'), join(app, 'program.ts'))
    expect(installed.compile(['program.ts'])).toEqual([])
  })
})

/** All files that a module imports, and all other modules, whether statically or not. */
function importGraph(entry: string): { modules: string[]; others: string[] } {
  const modules = new Set<string>()
  const others = new Set<string>()
  const visit = (file: string): void => {
    if (modules.has(file)) return
    modules.add(file)
    for (const [, , name] of readFileSync(file, 'utf8').matchAll(/\b(from|import)\s*\(?\s*['"]([^'"]+)['"]/g))
      if (name!.startsWith('.')) visit(resolve(dirname(file), name!))
      else others.add(name!)
  }
  visit(entry)
  return { modules: [...modules], others: [...others] }
}
