import { shuffle } from '../../../src/testing/_store-model.ts'
import type { Step } from './protocol.ts'

/** In seconds. Time is the test's own, so that none of it is really waited for. */
export const LIFETIMES = { idleTimeout: 60, touchEvery: 6, absoluteTimeout: 86_400, storeTimeout: 10 }

/** From the last activity to the end, in milliseconds. */
export const IDLE_MS = (LIFETIMES.idleTimeout + LIFETIMES.touchEvery) * 1000

/** Whole numbers from 0 to below `n`. */
export type Random = (n: number) => number

/** What one round is made of; in which order things happen is drawn as it runs. */
export interface Plan {
  /** Whom the browser's cookie leads to at the start. */
  readonly base: 'anonymous' | 'vera'
  readonly requests: readonly RequestPlan[]
  /** How long ago the session was active when the requests begin, in milliseconds. */
  readonly age?: number
  /** Time that passes in between, at moments to be drawn, in milliseconds. */
  readonly passing?: readonly number[]
  /** Whether all requests are sent before anything else happens. */
  readonly sentFirst?: boolean
}

export interface RequestPlan {
  readonly steps: readonly Step[]
  /** Whether the client hangs up at some moment before it has the answer. */
  readonly aborts?: boolean
}

/** What races, by name. */
export const SCENARIOS = {
  'parallel keys': (random) => ({
    base: pick(random, ['anonymous', 'vera']),
    requests: times(50, (i) => request(...maybePause(random), set(i))),
  }),

  'parallel updates of one counter': (random) => ({
    base: pick(random, ['anonymous', 'vera']),
    requests: times(50, () => request(...maybePause(random), update)),
  }),

  'sign-out in a slow read': (random) => ({
    base: 'vera',
    requests: [
      ...times(1 + random(3), () => request(pause)),
      request(pause, pause),
      ...times(1 + random(2), () => request(...maybePause(random), destroy)),
    ],
    passing: maybeMarksGo(random),
  }),

  'sign-out in a slow write': (random) => ({
    base: 'vera',
    requests: [
      request(set(0), pause),
      request(pause, update),
      request(pause, set(1), save, pause, set(2), update),
      ...times(1 + random(2), () => request(...maybePause(random), destroy)),
    ],
    passing: maybeMarksGo(random),
  }),

  'sign-out in a touch': (random) => ({
    base: 'vera',
    age: LIFETIMES.touchEvery * 1000 + random(20_000),
    requests: [
      ...times(2 + random(3), () => request(...maybePause(random))),
      request(...maybePause(random), destroy),
    ],
  }),

  'rotate in slow reads and writes': (random) => ({
    base: pick(random, ['anonymous', 'vera']),
    age: random(2) * 7000,
    requests: [
      request(pause),
      request(set(0), pause),
      request(pause, update, save, pause, update),
      ...times(1 + random(2), (i) =>
        request(...maybePause(random), ...(random(2) === 0 ? [set(10 + i)] : []), rotate),
      ),
      ...times(random(2), () => request(...maybePause(random), destroy)),
    ],
  }),

  'two sign-ins at once': (random) => ({
    base: pick(random, ['anonymous', 'vera']),
    requests: [
      request(...maybePause(random), signIn('vera'), set(0)),
      request(...maybePause(random), set(1), signIn(pick(random, ['vera', 'uma']))),
      ...times(random(3), (i) => request(...maybePause(random), set(10 + i))),
    ],
  }),

  'sign-in with ten requests in flight': (random) => ({
    base: 'anonymous',
    age: random(2) * 7000,
    sentFirst: true,
    requests: [
      ...times(10, (i) =>
        request(...maybePause(random), ...pick(random, [[], [set(i)], [update], [set(i), save, update]])),
      ),
      request(...maybePause(random), update, signIn('vera')),
    ],
  }),

  'the instant of expiry': (random) => ({
    base: 'vera',
    age: IDLE_MS - 1 - random(2),
    passing: [1, 1, 1],
    requests: shuffle(
      [
        [],
        [],
        [set(0)],
        [update],
        [set(1), rotate],
        [signIn('vera')],
        [signIn('uma')],
        [set(2), save, update],
      ],
      random,
    )
      .slice(0, 5)
      .map((steps) => request(...maybePause(random), ...steps)),
  }),

  'a handler throws after a change': (random) => ({
    base: 'vera',
    requests: [
      request(set(0), pause, fail),
      request(update, save, update, fail),
      request(...pick(random, [[rotate], [signIn('uma')], [destroy], [set(3)]]), ...maybePause(random), fail),
      request(...maybePause(random), update),
      request(...maybePause(random), set(2)),
    ],
  }),

  'the client hangs up': (random) => ({
    base: 'vera',
    requests: [
      { aborts: true, ...request(set(0), pause) },
      { aborts: true, ...request(pause, update, save, update) },
      { aborts: true, ...request(update, head, pause, update, save) },
      {
        aborts: true,
        ...request(...maybePause(random), ...pick(random, [[rotate], [signIn('vera')], [destroy], [set(3)]])),
      },
      request(...maybePause(random), update),
      request(...maybePause(random), set(2)),
    ],
  }),

  'a streaming answer with a late save': (random) => ({
    base: 'vera',
    requests: [
      request(set(0), head, pause, set(1), update, save),
      request(head, update, save, pause, update, save),
      request(...maybePause(random), update),
      request(...maybePause(random), ...pick(random, [[rotate], [destroy], [set(3)], [signIn('vera')]])),
    ],
  }),

  'setExpiry in the midst of writes and touches': (random) => ({
    base: 'vera',
    age: LIFETIMES.touchEvery * 1000 + random(20_000),
    requests: [
      ...times(1 + random(2), (i) => request(...maybePause(random), setExpiry(100 + 20 * i))),
      ...times(3, (i) => request(...maybePause(random), ...pick(random, [[], [set(i)], [update]]))),
      ...times(random(2), () => request(...maybePause(random), destroy)),
    ],
  }),
} satisfies Record<string, (random: Random) => Plan>

export type ScenarioName = keyof typeof SCENARIOS
export const SCENARIO_NAMES = Object.keys(SCENARIOS) as ScenarioName[]

/** The key that counts. */
export const COUNTER = 'count'

const update: Step = { do: 'update', key: COUNTER }
const [pause, save, rotate, destroy, head, fail] = (
  ['pause', 'save', 'rotate', 'destroy', 'head', 'throw'] as const
).map((act): Step => ({ do: act })) as [Step, Step, Step, Step, Step, Step]
const signIn = (user: string): Step => ({ do: 'sign in', user })
const setExpiry = (seconds: number): Step => ({ do: 'set expiry', seconds })
/** Sets a key that no other request of the round sets. */
const set = (i: number): Step => ({ do: 'set', key: `own${i}`, value: `value ${i}` })

function request(...steps: readonly Step[]): RequestPlan {
  return { steps }
}

function maybePause(random: Random): Step[] {
  return random(2) === 0 ? [pause] : []
}

/** Now and then, time enough for every mark to be gone: what is still in flight must be dead all the same. */
function maybeMarksGo(random: Random): number[] {
  return random(3) === 0 ? [31_000] : []
}

function times<R>(n: number, make: (i: number) => R): R[] {
  return Array.from({ length: n }, (_, i) => make(i))
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[random(items.length)]!
}
