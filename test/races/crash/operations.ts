import type { Session } from '../../../src/session/session.ts'
import type { StoreOperation } from '../../../src/testing/faulty-store.ts'

/**
 * One thing that a request does to its session, while its process may die at any step of it.
 *
 * States are what a fresh process finds, after a crash at the first step and at each later one, in this order and no other: what
 * stands under the `old` id, or else under a `new` one; `pending` is a new one that soon leaves by itself.
 */
export interface Operation {
  /** Whose session it is at the start; null where there is none. It holds `cart`. */
  readonly start: 'vera' | 'nobody' | null
  /** How long ago it was active, in milliseconds. */
  readonly age?: number
  readonly run: (session: Session) => unknown
  /** What another process does in the meantime. */
  readonly meanwhile?: { readonly before: StoreOperation; readonly run: (session: Session) => unknown }
  readonly states: readonly string[]
  /** Whether a sign-out with the old cookie ends what the session has become. Not across a change of user. */
  readonly staysInReach: boolean
}

export const OPERATIONS = {
  'a first save': {
    start: null,
    run: (session) => own(session),
    states: ['nothing', 'new: nobody {own}'],
    staysInReach: false,
  },
  'a write': {
    start: 'vera',
    run: (session) => own(session),
    states: ['old: vera {cart}', 'old: vera {cart, own}'],
    staysInReach: true,
  },
  'a write, another having written meanwhile': {
    start: 'vera',
    run: (session) => own(session),
    meanwhile: { before: 'replace', run: (session) => other(session) },
    states: ['old: vera {cart, other}', 'old: vera {cart, other, own}'],
    staysInReach: true,
  },
  'a touch': {
    start: 'vera',
    age: 600_000,
    run: () => {},
    states: ['old: vera {cart}'],
    staysInReach: true,
  },
  'a rotation': {
    start: 'vera',
    run: (session) => own(session).rotate(),
    states: ['old: vera {cart}', 'pending: vera {cart, own}', 'new: vera {cart, own}'],
    staysInReach: true,
  },
  'a rotation, another having written meanwhile': {
    start: 'vera',
    run: (session) => own(session).rotate(),
    meanwhile: { before: 'end', run: (session) => other(session) },
    states: [
      'old: vera {cart}',
      'old: vera {cart, other}',
      'pending: vera {cart, other, own}',
      'new: vera {cart, other, own}',
    ],
    staysInReach: true,
  },
  'a rotation, another having rotated meanwhile': {
    start: 'vera',
    run: (session) => own(session).rotate(),
    meanwhile: { before: 'end', run: (session) => session.rotate() },
    states: ['old: vera {cart}', 'new: vera {cart}'],
    staysInReach: true,
  },
  'a rotation, another having signed out meanwhile': {
    start: 'vera',
    run: (session) => session.rotate(),
    meanwhile: { before: 'end', run: (session) => session.destroy() },
    states: ['old: vera {cart}', 'pending: vera {cart}', 'nothing'],
    staysInReach: false,
  },
  'a sign-in': {
    start: 'nobody',
    run: (session) => own(session).signIn('vera'),
    states: ['old: nobody {cart}', 'pending: vera {cart, own}', 'new: vera {cart, own}'],
    staysInReach: false,
  },
  'a sign-in as another user': {
    start: 'vera',
    run(session) {
      session.signIn('uma')
      own(session)
    },
    states: ['old: vera {cart}', 'pending: uma {own}', 'new: uma {own}'],
    staysInReach: false,
  },
  'a sign-in, another having signed out meanwhile': {
    start: 'nobody',
    run(session) {
      session.signIn('vera')
      own(session)
    },
    meanwhile: { before: 'end', run: (session) => session.destroy() },
    states: ['old: nobody {cart}', 'pending: vera {cart, own}', 'pending: vera {own}', 'new: vera {own}'],
    staysInReach: false,
  },
  'a sign-out': {
    start: 'vera',
    run: (session) => session.destroy(),
    states: ['old: vera {cart}', 'nothing'],
    staysInReach: true,
  },
  'a sign-out, another having rotated meanwhile': {
    start: 'vera',
    run: (session) => session.destroy(),
    meanwhile: { before: 'end', run: (session) => session.rotate() },
    states: ['new: vera {cart}', 'nothing'],
    staysInReach: true,
  },
} satisfies Record<string, Operation>

export type OperationName = keyof typeof OPERATIONS

/** Ways to do it that lose or double a session when the process dies at the wrong moment. */
export const MUTANTS = {
  'a rotation ends the old before the new is written': 'a rotation',
  'the new record of a rotation is not pending': 'a rotation',
  'a write deletes and writes': 'a write',
} as const satisfies Record<string, OperationName>

export type MutantName = keyof typeof MUTANTS

/** In seconds. A new record stays pending for five times as long. */
export const STORE_TIMEOUT = 10
export const PENDING = 5 * STORE_TIMEOUT

/** What a victim is told. */
export interface Task {
  readonly store: 'sqlite' | 'redis'
  /** A file, or a url. */
  readonly where: string
  /** Of Redis' keys, and the name of the victim's connection. */
  readonly prefix: string
  readonly cookie: string
  readonly operation: OperationName
  /** At which crossing to die; null to live. */
  readonly dieAt: number | null
  readonly mutant: MutantName | null
}

function own(session: Session): Session {
  return session.set('own', 1)
}

function other(session: Session): void {
  session.set('other', 1)
}
