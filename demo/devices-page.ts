import type { Session, UserSession } from 'holdfast'
import { html } from 'hono/html'

import { deviceName } from './device-name.ts'
import { code, type Html, layout } from './layout.ts'
import { account } from './panels.ts'
import type { AppSession } from './session.ts'
import { ago, clockTime, until } from './times.ts'

/** Where a user is signed in, with what ends each of these sessions; or, for nobody, that they are signed out. */
export function devicesPage(
  session: Session<AppSession>,
  devices: readonly UserSession[],
  notice: string | undefined,
): Html {
  const body = html`
    ${notice && html`<p class="notice" role="status"><span>${notice}</span></p>`}
    <div class="wrap narrow">${session.userId === null ? signedOut(session) : list(session, devices)}</div>
  `
  return layout({ title: 'Holdfast: your devices', account: account(session), body })
}

function list(session: Session<AppSession>, devices: readonly UserSession[]): Html {
  const now = new Date()
  return html`<h1>Your devices</h1>
    <p class="lede">
      <b>${session.userId}</b> is signed in here. Sign in with the same name in another browser, and it is
      listed here; revoke it, and what it shows turns into the signed-out page at once.
    </p>
    <div id="devices" data-part>
      <form method="post" action="/devices/revoke">
        <ul class="devices">
          ${devices.map((device) => row(device, device.id === session.id, now))}
        </ul>
      </form>
      ${
        devices.length > 1 &&
        html`<form method="post" action="/devices/revoke-others">
          <button>Sign out everywhere else</button>
        </form>`
      }
    </div>
    ${code(`const devices = await sessions.forUser(userId).list()\nawait sessions.forUser(userId).revoke(id)\nawait sessions.forUser(userId).revokeOthers(session)`)}
    <p><a href="/">Back to the demo</a></p>`
}

function row(
  { id, device, createdAt, lastActiveAt, expiresAt }: UserSession,
  isThis: boolean,
  now: Date,
): Html {
  const name = deviceName(device)
  return html`<li aria-current="${String(isThis)}">
    <div>
      <h2>${name} ${isThis && html`<small>this one</small>`}</h2>
      <p>
        Active ${ago(lastActiveAt, now)}, at ${clockTime(lastActiveAt)}.
        <small>Signed in at ${clockTime(createdAt)}, ends ${until(expiresAt, now)} without activity.</small>
      </p>
    </div>
    ${
      isThis
        ? html`<button class="quiet" formaction="/sign-out">Sign out</button>`
        : html`<button
            class="quiet"
            name="id"
            value="${id}"
            aria-label="Revoke ${name}, active ${ago(lastActiveAt, now)}"
          >
            Revoke
          </button>`
    }
  </li>`
}

function signedOut(session: Session<AppSession>): Html {
  return html`<h1>Signed out</h1>
    <p class="lede" id="signed-out">
      ${
        session.isEnded
          ? 'This session was ended, here or from another device. What was under way in it has been dropped.'
          : 'Nobody is signed in with this browser.'
      }
    </p>
    <p><a href="/#sign-in">Sign in</a></p>`
}
