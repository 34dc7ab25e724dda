import type { ExecFileSyncOptionsWithStringEncoding } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

export const ROOT: string = resolve(import.meta.dirname, '../..')

/** An application outside the repository that has installed the packed package, and nothing else. */
export class InstalledPackage {
  /** The application's folder. */
  readonly app: string = mkdtempSync(join(tmpdir(), 'holdfast-package-'))
  /** Where the package is in it. */
  readonly holdfast: string = join(this.app, 'node_modules/holdfast')

  constructor() {
    const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', this.app]
    const quiet: ExecFileSyncOptionsWithStringEncoding = {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }
    const [packed] = JSON.parse(execFileSync('npm', pack, { ...quiet, cwd: ROOT })) as [{ filename: string }]
    this.write('package.json', '{ "private": true, "type": "module" }')
    const install = ['install', '--offline', '--no-audit', '--no-fund', '--silent', packed.filename]
    execFileSync('npm', install, { ...quiet, cwd: this.app })
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.app, file), text)
  }

  /** Adds packages as the repository has them; who lacks an optional one goes without. */
  link(...names: string[]): void {
    for (const name of names) {
      const target = join(this.app, 'node_modules', name)
      mkdirSync(dirname(target), { recursive: true })
      symlinkSync(join(ROOT, 'node_modules', name), target)
    }
  }

  /** Compiles files as strictly as can be. @returns what the compiler says of them, and of Holdfast's types */
  compile(files: readonly string[]): string[] {
    const compilerOptions = {
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
      module: 'nodenext',
      target: 'es2023',
      lib: ['es2024', 'dom', 'dom.asynciterable'],
      types: ['node'],
    }
    this.write('tsconfig.json', JSON.stringify({ compilerOptions, files }))
    try {
      execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', '.'], {
        cwd: this.app,
        encoding: 'utf8',
        stdio: 'pipe',
      })
      return []
    } catch (error) {
      const lines = (error as { stdout: string }).stdout.split('\n')
      // What is wrong within other packages is not ours to mend.
      return lines.filter((line) => line !== '' && !/^(?:\s|node_modules\/(?!holdfast))/.test(line))
    }
  }

  remove(): void {
    rmSync(this.app, { recursive: true, force: true })
  }
}

/** What programs written with Holdfast may import beside it. */
export const COMPANIONS: readonly string[] = [
  '@types',
  'express',
  'hono',
  '@hono',
  'redis',
  '@redis',
  'ioredis',
  'zod',
  'undici-types',
  'ws',
  'socket.io',
  'engine.io',
]
