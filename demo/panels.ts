import type { Session } from 'holdfast'
import { html } from 'hono/html'

import { GOODS, goodOf } from './goods.ts'
import { code, type Html } from './layout.ts'
import type { AppSession, CartLine } from './session.ts'
import { ago, clockTime, until } from './times.ts'

// What has the attribute data-part is put in place anew by client.js when an experiment has ended.

/** Who is signed in, at the top of the page. */
export function account({ userId }: Session<AppSession>): Html {
  if (userId === null) return html`<p class="account" id="account" data-part>Not signed in</p>`
  return html`<form class="account" id="account" data-part method="post" action="/sign-out">
    <span>Signed in as <b>${userId}</b></span> <a href="/devices">Your devices</a>
    <button class="quiet">Sign out</button>
  </form>`
}

/** The session's public face. */
export function face(session: Session<AppSession>): Html {
  return html`<section class="face" id="face" data-part aria-labelledby="face-title">
    <h2 id="face-title">This session</h2>
    ${isThere(session) ? facts(session) : html`<p>There is none. Nothing has been stored, so there is no cookie either.</p>`}
  </section>`
}

function isThere(session: Session<AppSession>): boolean {
  return session.expiresAt !== null || (session.isNew && session.isModified)
}

function facts(session: Session<AppSession>): Html {
  const now = new Date()
  const { id, userId, createdAt, touchedAt, expiresAt, size } = session
  return html`<dl>
    <div class="wide">
      <dt>Id, the hash of the cookie’s secret</dt>
      <dd><code id="session-id">${id}</code></dd>
    </div>
    <div>
      <dt>User</dt>
      <dd>${userId ?? 'nobody'}</dd>
    </div>
    <div>
      <dt>Keys</dt>
      <dd>${size}</dd>
    </div>
    <div>
      <dt>Created</dt>
      <dd>${clockTime(createdAt)} <small>${ago(createdAt, now)}</small></dd>
    </div>
    <div>
      <dt>Last active</dt>
      <dd>${clockTime(touchedAt)} <small>${ago(touchedAt, now)}</small></dd>
    </div>
    <div class="wide">
      <dt>Expires</dt>
      <dd>
        ${
          expiresAt === null
            ? 'counted from this answer on, which saves it'
            : html`${clockTime(expiresAt)} <small>${until(expiresAt, now)}, unless you come back</small>`
        }
      </dd>
    </div>
  </dl>`
}

export function visits(session: Session<AppSession>): Html {
  const count = session.get('visits', 0)
  return html`<section class="card" id="visits" aria-labelledby="visits-title">
    <h2 id="visits-title">Visits</h2>
    <p class="count" id="visits-count" data-part>
      <b>${count}</b> ${count === 1 ? 'visit' : 'visits'} <span>in this session</span>
    </p>
    <p>
      Counting is something to remember, so your first visit set the cookie.
      <a href="/quiet">A page that stores nothing</a>
      sets none.
    </p>
    <form action="/"><button>Visit again</button></form>
    ${code(`session.update('visits', (visits = 0) => visits + 1)`)}
  </section>`
}

export function signIn(session: Session<AppSession>): Html {
  return html`<section class="card" id="sign-in" aria-labelledby="sign-in-title">
    <h2 id="sign-in-title">Signing in</h2>
    <div id="sign-in-form" data-part>
      ${
        session.userId === null
          ? html`<form method="post" action="/sign-in" class="line">
              <label for="name">Your name</label>
              <input id="name" name="name" required maxlength="80" autocomplete="nickname" />
              <button>Sign in</button>
            </form>`
          : html`<form method="post" action="/sign-out" class="line">
              <p>You are <b>${session.userId}</b>, on <a href="/devices">these devices</a>.</p>
              <button>Sign out</button>
            </form>`
      }
    </div>
    <p>
      Signing in gives the session a new token and a new id, and keeps the cart. Signing out ends it, here and
      in every tab. Any name will do.
    </p>
    ${code(`session.signIn(name)\nawait session.destroy() // signs out`)}
  </section>`
}

export function cart(session: Session<AppSession>): Html {
  return html`<section class="card" id="cart" aria-labelledby="cart-title">
    <h2 id="cart-title">Cart</h2>
    <form method="post" action="/cart/add" class="goods">
      ${GOODS.map(
        ({ sku, name, price }) =>
          html`<button class="good" name="sku" value="${sku}">
            <span>${name}</span> <small>€${price}</small>
          </button>`,
      )}
    </form>
    <div id="cart-lines" data-part>${cartLines(session.get('cart', []))}</div>
    <p>The handler changes the array it got. Writing inside a value is noticed, and saved.</p>
    ${code(`const cart = (session.data.cart ??= [])\nif (line) line.quantity++\nelse cart.push({ sku, quantity: 1 })`)}
  </section>`
}

function cartLines(lines: readonly CartLine[]): Html {
  if (lines.length === 0) return html`<p class="empty">The cart is empty. Add something.</p>`
  const total = lines.reduce((sum, { sku, quantity }) => sum + quantity * (goodOf(sku)?.price ?? 0), 0)
  return html`<form method="post" action="/cart/add">
    <ul class="lines">
      ${lines.map(({ sku, quantity }) => {
        const name = goodOf(sku)?.name ?? sku
        return html`<li>
          <span class="name">${name}</span>
          <span class="stepper">
            <button formaction="/cart/take" name="sku" value="${sku}" aria-label="One less: ${name}">
              −
            </button>
            <output aria-label="Quantity">${quantity}</output>
            <button name="sku" value="${sku}" aria-label="One more: ${name}">+</button>
          </span>
          <button
            class="quiet"
            formaction="/cart/remove"
            name="sku"
            value="${sku}"
            aria-label="Remove ${name}"
          >
            Remove
          </button>
        </li>`
      })}
    </ul>
    <p class="total">Total <b>€${total}</b></p>
  </form>`
}

export function note(): Html {
  return html`<section class="card" id="note" aria-labelledby="note-title">
    <h2 id="note-title">A message, once</h2>
    <form method="post" action="/note" class="line">
      <label for="note-text">Tell the next page</label>
      <input id="note-text" name="note" required maxlength="80" autocomplete="off" />
      <button>Send</button>
    </form>
    <p>The answer is a redirect; the page it leads to shows your message, and the one after does not.</p>
    ${code(`session.flash('notice', note)\nsession.get('notice') // on the next page`)}
  </section>`
}
