import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { isMark } from '../../src/stores/store.ts'
import type { Excuse, Rule, Violation } from './model.ts'
import type { Scenario } from './scenario.ts'
import { nameOf } from './scenario.ts'
import type { Backend, Happening, Variant } from './scheduler.ts'
import { World } from './scheduler.ts'

/** Something wrong, and the order in which it came about. */
export interface Finding extends Violation {
  readonly scenario: Scenario
  readonly trace: readonly string[]
}

export interface Exploration {
  /** How many orders there are; those that lead to the same state by steps that do not touch each other count each. */
  orders: number
  /** How many states they go through. */
  states: number
  /** How many steps were taken for it, those to come back to a state included. */
  steps: number
  /** What was found, by rule: the shortest order that leads there. */
  readonly findings: Map<Rule, Finding>
  /** Where an excuse was first made use of. */
  readonly excuses: Map<Excuse, string>
}

export interface Setting {
  readonly backend: Backend
  readonly variant?: Variant | undefined
}

/**
 * Goes through every order of a scenario's steps: to come back to a state it runs the scenario anew, as promises cannot be copied. From a
 * state that it has been in already, by another order of steps that do not touch each other, it does not go on again.
 */
export async function explore(
  scenario: Scenario,
  setting: Setting,
  total: Exploration = emptyExploration(),
): Promise<Exploration> {
  const known = new Map<string, number>()
  const open = (): Promise<World> => World.open(scenario, { ...setting, canonical: true })

  const visit = async (path: readonly number[], arrived: World): Promise<number> => {
    const { fingerprint } = arrived
    total.states++
    const steps = arrived.steps()
    let orders = steps.length === 0 ? await finish(arrived) : 0
    let isUsed = false
    for (const [i, { leadsTo }] of steps.entries()) {
      const before = known.get(leadsTo)
      if (before === undefined) {
        const world = isUsed ? await replay(path) : arrived
        if (world.fingerprint !== fingerprint)
          throw new Error('The same steps have not led to the same state.')
        isUsed = true
        await world.take(i)
        total.steps++
        orders += await visit([...path, i], world)
      } else orders += before
    }
    known.set(fingerprint, orders)
    return orders
  }

  const replay = async (path: readonly number[]): Promise<World> => {
    const world = await open()
    for (const i of path) await world.take(i)
    total.steps += path.length
    return world
  }

  const finish = async (world: World): Promise<number> => {
    // Without a step left, and not complete: a beginning that was counted elsewhere.
    if (!world.isComplete && !world.isStuck) return 0
    await conclude(world, total)
    return 1
  }

  total.orders += await visit([], await open())
  return total
}

/** Goes through one order, in which `choices` say which step is next; after the last one, always the first that there is. */
export async function follow(
  scenario: Scenario,
  choices: readonly number[],
  setting: Setting,
  total: Exploration = emptyExploration(),
): Promise<Exploration> {
  const world = await World.open(scenario, setting)
  for (let taken = 0; ; taken++) {
    const steps = world.steps()
    if (steps.length === 0) break
    await world.take((choices[taken] ?? 0) % steps.length)
    total.steps++
  }
  await conclude(world, total)
  total.orders++
  return total
}

export function emptyExploration(): Exploration {
  return { orders: 0, states: 0, steps: 0, findings: new Map(), excuses: new Map() }
}

async function conclude(world: World, total: Exploration): Promise<void> {
  await world.judge()
  for (const violation of world.violations) {
    const known = total.findings.get(violation.rule)
    if (known === undefined || world.history.length < known.trace.length)
      total.findings.set(violation.rule, findingIn(world, violation))
  }
  for (const excuse of world.excuses)
    if (!total.excuses.has(excuse)) total.excuses.set(excuse, nameOf(world.scenario))
}

function findingIn(world: World, { rule, detail }: Violation): Finding {
  const named = [...world.names].reduce((text, [id, name]) => text.replaceAll(id, name), detail)
  return { rule, detail: named, scenario: world.scenario, trace: traceOf(world) }
}

/** A finding as people read it. */
export function explain({ rule, detail, scenario, trace }: Finding): string {
  return [`${rule} (${detail}): ${nameOf(scenario)}`, ...trace].join('\n    ')
}

/** Who did what, in order, and what came of it. */
function traceOf({ history, scenario, names }: World): string[] {
  const who = (request: number | null): string =>
    request === null ? 'server' : `${scenario.kinds[request]!} #${request}`
  const id = (of: string | null): string =>
    of === null ? 'nothing' : (names.get(of) ?? 'an id of no record')
  const versions = new Map([['first', 'v0']])
  const version = (of: string): string => {
    if (!versions.has(of)) versions.set(of, `v${versions.size}`)
    return versions.get(of)!
  }
  const show = (value: unknown): string => {
    if (typeof value !== 'object' || value === null) return String(value)
    const found = value as SessionData | Mark | null
    if (found === null) return 'null'
    if (isMark(found))
      return `mark: ${found.reason}${found.successor === null ? '' : `, to ${id(found.successor)}${found.sameUser ? ', same user' : ''}`}`
    return `${version(found.version)} of ${found.userId ?? 'nobody'} ${found.json}`
  }
  const line = (happening: Happening): string => {
    const name = 'request' in happening ? who(happening.request) : ''
    switch (happening.kind) {
      case 'sent':
        return `${name} is sent, its cookie leads to ${id(happening.id)}`
      case 'handled':
        return `${name}: its handler runs`
      case 'called':
      case 'cut': {
        const { call } = happening
        const args = [id(call.id)]
        if ('record' in call) args.push(show(call.record))
        if ('mark' in call) args.push(show(call.mark))
        if ('expected' in call && call.expected !== undefined) args.push(`over ${version(call.expected)}`)
        const asked = `${name}: ${call.operation}(${args.join(', ')})`
        if (happening.kind === 'cut') return `${asked}: the reply is lost (${happening.how})`
        const fate = happening.fate === 'answered' ? '' : ` (${happening.fate})`
        return `${asked} = ${show(happening.result)}${fate}`
      }
      case 'settled':
        return `${name} is told: ${happening.outcome}`
      case 'answered':
        return `${name} is answered, cookie ${happening.cookie}${happening.error === null ? '' : `; ${String(happening.error)}`}`
      case 'delivered':
        return `the answer to ${name} arrives; the cookie leads to ${id(happening.jar)}`
      case 'dropped':
        return `the answer to ${name} is lost`
      case 'crashed':
        return `${name}: its process dies`
      case 'passed':
        return `${happening.ms} ms pass`
    }
  }
  return history.map(line)
}
