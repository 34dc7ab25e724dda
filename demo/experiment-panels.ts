import type { Session } from 'holdfast'
import { html } from 'hono/html'

import { code, type Html } from './layout.ts'
import { type AppSession, SLOTS } from './session.ts'

/** Twenty requests at once. */
export function parallel(session: Session<AppSession>): Html {
  const kept = SLOTS.filter((slot) => session.has(`slot${slot}`))
  const run = session.get('run')
  const others = run?.lastWriteWins ?? []
  return html`<section class="card" id="parallel" aria-labelledby="parallel-title">
    <h3 id="parallel-title">Twenty at once</h3>
    <p>
      Twenty requests read the session, work for a moment, and write: each a key of its own, and all of them
      one more on a shared counter.
    </p>
    <form method="post" action="/parallel" data-experiment="parallel"><button>Send 20 requests</button></form>
    <p class="verdict" role="status" id="parallel-verdict" data-part>
      ${
        run?.elapsed === undefined
          ? 'Every request will be answered with success. What counts is what the session holds afterwards.'
          : html`<b>${kept.length} of 20</b> keys are there, and the counter says
              <b>${session.get('counter', 0)}</b>. ${run.elapsed} ms, up to ${session.get('atOnce', 0)} at the
              same time.`
      }
    </p>
    <div id="parallel-grids" data-part>
      ${grid('Holdfast', kept, run !== undefined)}
      ${grid('Written back whole, the last write wins', others, others.length > 0)}
    </div>
    <p class="aside">
      The lower grid is the same twenty writes to the same store, without a version check. A browser sends
      some six requests at a time.
    </p>
    ${code(`session.set(\`slot\${slot}\`, Date.now())\nsession.update('counter', (count = 0) => count + 1)`)}
  </section>`
}

function grid(title: string, kept: readonly number[], hasRun: boolean): Html {
  return html`<figure class="grid">
    <figcaption>${title} <b>${hasRun ? `${kept.length} of 20` : ''}</b></figcaption>
    <ol>
      ${SLOTS.map((slot) => {
        const state = kept.includes(slot) ? 'kept' : hasRun ? 'lost' : 'waiting'
        return html`<li class="${state}" data-slot="${slot}">
          ${slot}<span class="hidden"> ${state}</span>
        </li>`
      })}
    </ol>
  </figure>`
}

/** How the race between a sign-out and a slow request went; times are milliseconds since its start. */
export interface RaceResult {
  id: string
  userId: string | null
  begun: number
  signedOut: number
  written: number
  /** What the slow request was told. */
  outcome: string
  read: number
  isInStore: boolean
}

/** A sign-out under a slow request. */
export function race(): Html {
  return html`<section class="card" id="race" aria-labelledby="race-title">
    <h3 id="race-title">Signed out stays signed out</h3>
    <p>
      A slow request has read the session and is still at work when you sign out. Then it writes. This signs
      you out for real (and in first, if you are not).
    </p>
    <form method="post" action="/sign-out-race" data-experiment="race">
      <button>Sign out meanwhile</button>
    </form>
    <div aria-live="polite">${raceSteps()}</div>
    <p class="aside">
      Where the last write wins, this one would bring the session back to life, user, cart and all.
    </p>
    ${code(`session.flash('notice', 'Written by a slow request.')\nawait session.save() // 'gone'`)}
  </section>`
}

/** The steps of the race, as they went or, without a result, as they will go. client.js tells them in the same words. */
export function raceSteps(result?: RaceResult): Html {
  if (result === undefined)
    return html`<ol class="steps">
      ${step('who', 'A session', 'You are signed in.')}
      ${step('begun', 'The slow request begins', 'It reads the session, and works for a while.')}
      ${step('signed-out', 'You sign out', 'The session is ended, the cookie cleared.')}
      ${step('written', 'The slow request writes', 'Or tries to.')}
      ${step('read', 'Another look', 'Is anybody signed in? Is the session back?')}
    </ol>`
  const { id, userId, begun, signedOut, written, outcome, read, isInStore } = result
  const who = userId === null ? 'Nobody signed in' : `Signed in as ${userId}`
  return html`<ol class="steps">
    ${step('who', 'A session', `${who}, session ${id.slice(0, 8)}…`, 0)}
    ${step('begun', 'The slow request begins', 'It has read the session, and works on.', begun)}
    ${step('signed-out', 'You sign out', 'The session is ended, the cookie cleared.', signedOut)}
    ${step('written', 'The slow request writes', `It is told: ${outcome}.`, written)}
    ${step(
      'read',
      'Another look',
      isInStore ? 'The session is back.' : 'Nobody is signed in, and the store has no such session.',
      read,
    )}
  </ol>`
}

function step(name: string, title: string, detail: string, at?: number): Html {
  return html`<li data-step="${name}" class="${at === undefined ? '' : 'done'}">
    <time>${at === undefined ? '' : `${Math.round(at)} ms`}</time>
    <span><b>${title}</b> <span class="detail">${detail}</span></span>
  </li>`
}
