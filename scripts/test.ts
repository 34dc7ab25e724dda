/**
 * `npm test`: sees to the servers that the tests start, builds what the package tests look at, runs all tests,
 * and closes with the line `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'

import { installServers } from './servers.ts'

installServers()
run('npm', ['run', '--silent', 'build'])

const folder = mkdtempSync(join(tmpdir(), 'holdfast-tests-'))
const results = join(folder, 'results.json')
const status = run(
  'vitest',
  ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${results}`, ...process.argv.slice(2)],
  {
    mayFail: true,
  },
)
const { numPassedTests, numFailedTests, numPendingTests, success, testResults } = readResults()
rmSync(folder, { recursive: true, force: true })

// A test file that cannot be loaded fails no test of its own, and a skipped test has shown nothing.
const failed = Math.max(numFailedTests, success && status === 0 ? 0 : 1)
// Once more and briefly, for whoever sees the end of a long log only.
for (const { name, message, assertionResults } of testResults.filter(({ status }) => status === 'failed')) {
  const failures = assertionResults.filter(({ status }) => status === 'failed')
  for (const { fullName, failureMessages } of failures)
    tell(`${relative('.', name)}: ${fullName}`, failureMessages)
  if (failures.length === 0) tell(relative('.', name), [message])
}
if (numPendingTests > 0) console.log(`${numPendingTests} skipped`)
console.log(`${numPassedTests} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

interface Results {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  success: boolean
  testResults: readonly {
    name: string
    status: string
    message: string
    assertionResults: readonly { status: string; fullName: string; failureMessages: readonly string[] }[]
  }[]
}

function readResults(): Results {
  try {
    return JSON.parse(readFileSync(results, 'utf8')) as Results
  } catch {
    return { numPassedTests: 0, numFailedTests: 1, numPendingTests: 0, success: false, testResults: [] }
  }
}

/** Tells of a failure, and what was said of it; not where it was thrown. */
function tell(what: string, messages: readonly string[]): void {
  const lines = messages.flatMap((message) =>
    message
      .split(/\n\s+at /, 1)[0]!
      .split('\n')
      .slice(0, 6),
  )
  for (const line of [what, ...lines.map((line) => `  ${line.slice(0, 300)}`)]) console.log(`FAILED: ${line}`)
}

function run(command: string, args: readonly string[], { mayFail = false } = {}): number {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (error !== undefined) throw error
  if (status !== 0 && !mayFail) {
    console.log('0 passed, 1 failed')
    process.exit(status ?? 1)
  }
  return status ?? 1
}
