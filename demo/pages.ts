import type { Session } from 'holdfast'
import { html } from 'hono/html'

import type { Entry } from './decision-log.ts'
import { decisions } from './decisions-panel.ts'
import { parallel, race, raceSteps, type RaceResult } from './experiment-panels.ts'
import { code, type Html, layout } from './layout.ts'
import { account, cart, face, note, signIn, visits } from './panels.ts'
import type { AppSession } from './session.ts'

export interface HomeView {
  session: Session<AppSession>
  /** A message for this page, once. */
  notice: string | undefined
  storeName: string
  /** Whether sessions outlive the server. */
  isDurable: boolean
  /** What the last requests did, newest first. */
  entries: readonly Entry[]
  hasSignedOut: boolean
}

/** Everything on one page. */
export function homePage(view: HomeView): Html {
  const { session, storeName, isDurable, entries, hasSignedOut } = view
  const notice = hasSignedOut
    ? 'Signed out. That session is over for good, and what it held is gone; this visit began a new one.'
    : view.notice
  const body = html`
    ${notice && html`<p class="notice" role="status"><span>${notice}</span></p>`}
    <div class="hero wrap">
      <div>
        <h1>Sessions that hold.</h1>
        <p class="lede">
          Everything here is remembered in one server-side session, kept in ${storeName}. Open a second tab,
          press every button: it stays right.${isDurable && ' Restart the server: it is still here.'}
        </p>
      </div>
      ${face(session)}
    </div>
    <div class="wrap cards">
      <div>${visits(session)} ${note()}</div>
      <div>${signIn(session)} ${cart(session)}</div>
    </div>
    <div class="deep">
      <div class="wrap">
        <h2>Under pressure</h2>
        <p class="lede">Requests overlap all the time. These two buttons make them do so on purpose.</p>
        <div class="pair">${parallel(session)} ${race()}</div>
      </div>
    </div>
    <div class="wrap">${decisions(entries)}</div>
  `
  return layout({ title: 'Holdfast: sessions that hold', account: account(session), body })
}

/** A page that reads the session and stores nothing in it. */
export function quietPage(session: Session<AppSession>): Html {
  const body = html`
    <div class="wrap narrow">
      <h1>A page that stores nothing</h1>
      <p class="lede" id="quiet">
        ${
          session.isNew
            ? 'You came without a session, and you leave without one: this answer sets no cookie.'
            : 'You have a session. This page read it and changed nothing, so it wrote nothing and set no cookie.'
        }
      </p>
      ${code(`app.get('/quiet', (c) => c.html(quietPage(c.var.session)))`)}
      <p><a href="/">Back to the demo</a>, which counts your visits and so has something to remember.</p>
    </div>
  `
  return layout({ title: 'Holdfast: a page that stores nothing', account: account(session), body })
}

/** The race between a sign-out and a slow request, as it went. */
export function resultPage(result: RaceResult): Html {
  const body = html`
    <div class="deep">
      <div class="wrap narrow">
        <h1>Signed out stays signed out</h1>
        ${raceSteps(result)}
        <p><a href="/">Back to the demo</a>, where a new session begins.</p>
      </div>
    </div>
  `
  return layout({ title: 'Holdfast: signed out stays signed out', account: html``, body })
}
