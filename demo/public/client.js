/*
 * The two experiments, sent from the browser so that its own tools show the requests. Without this script
 * their forms work as well: the server then sends the requests to itself.
 */

// A form's answer is this page again: the visitor stays where they were, rather than at the part that the address names.
const kept = sessionStorage.getItem('scroll')
if (kept !== null) addEventListener('load', () => scrollTo(0, Number(kept)), { once: true })
sessionStorage.removeItem('scroll')
document.addEventListener('submit', (event) => {
  if (!event.defaultPrevented) sessionStorage.setItem('scroll', String(scrollY))
})

const experiments = { parallel, race }

for (const form of document.querySelectorAll('form[data-experiment]')) {
  let isRunning = false
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    if (isRunning) return
    isRunning = true
    form.setAttribute('aria-busy', 'true')
    try {
      await experiments[form.dataset.experiment]()
    } catch (error) {
      console.warn(error)
      document.querySelector('#parallel-verdict').textContent =
        'The server did not answer. Is it still running?'
    } finally {
      isRunning = false
      form.removeAttribute('aria-busy')
    }
  })
}

async function parallel() {
  const slots = [...document.querySelectorAll('#parallel [data-slot]')]
  document.querySelector('#parallel-verdict').textContent = 'Sending …'
  for (const slot of slots) slot.className = 'waiting'
  await post('/parallel/begin')
  const requests = new Set(slots.map((slot) => slot.dataset.slot))
  await Promise.all(
    [...requests].map(async (number) => {
      await post(`/parallel/${number}`)
      for (const slot of slots) if (slot.dataset.slot === number) slot.className = 'answered'
    }),
  )
  await post('/parallel/end')
  await refresh()
}

async function race() {
  for (const step of document.querySelectorAll('#race .done')) {
    step.className = ''
    step.querySelector('time').textContent = ''
  }
  let { id, userId } = await look('none')
  if (userId === null) {
    await post('/sign-in', { name: 'Guest' })
    await refresh()
    ;({ id, userId } = await look('none'))
  }
  const startedAt = performance.now()
  const done = (name, detail) => {
    const step = document.querySelector(`#race [data-step=${name}]`)
    step.className = 'done'
    step.querySelector('time').textContent = `${Math.round(performance.now() - startedAt)} ms`
    step.querySelector('.detail').textContent = detail
  }

  done('who', `Signed in as ${userId}, session ${id.slice(0, 8)}…`)
  const slow = await post('/slow-write')
  const lines = slow.body.pipeThrough(new TextDecoderStream()).getReader()
  await lines.read()
  done('begun', 'It has read the session, and works on.')
  await post('/sign-out')
  done('signed-out', 'The session is ended, the cookie cleared.')
  const { value: outcome } = await lines.read()
  done('written', `It is told: ${outcome.trim()}.`)
  const after = await look(id)
  done(
    'read',
    after.isInStore || after.userId !== null
      ? 'The session is back.'
      : 'Nobody is signed in, and the store has no such session.',
  )
  await refresh(`?ended=${id}`)
}

/** Whose session this browser has, and whether the store has one of the id asked for. */
async function look(id) {
  const answer = await fetch(`/look/${id}`)
  return answer.json()
}

async function post(path, fields = {}) {
  const answer = await fetch(path, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' })
  if (!answer.ok && answer.type !== 'opaqueredirect') throw new Error(`${path} answered ${answer.status}`)
  return answer
}

/** Puts the parts of the page that show the session in place anew. */
async function refresh(query = '') {
  await putAnew(`/now${query}`, () => true)
  document.querySelector('.notice')?.remove()
}

async function putAnew(path, isWanted) {
  const answer = await fetch(path)
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
  for (const part of document.querySelectorAll('[data-part]'))
    if (isWanted(part)) part.replaceWith(page.getElementById(part.id) ?? '')
}

/* What other tabs and devices do shows while the page is open. An experiment shows its own requests itself. */

const isDevices = location.pathname === '/devices'
const isBusy = () => document.querySelector('[aria-busy]') !== null

if (document.querySelector('form#account') !== null && (isDevices || location.pathname === '/')) {
  const events = new EventSource('/live')
  let isDue = false
  events.addEventListener('open', () => (document.documentElement.dataset.live = 'true'))
  events.addEventListener('changed', async () => {
    if (isDue || isBusy()) return
    isDue = true
    // Of many changes at once, one look; and nobody loses what they are typing.
    await new Promise((resolve) => setTimeout(resolve, 100))
    isDue = false
    if (!isBusy())
      await putAnew(isDevices ? '/devices?live' : '/now', (part) => !part.contains(document.activeElement))
  })
  // What this page asks for itself, the page that comes next will show.
  document.addEventListener('submit', (event) => {
    if (!event.defaultPrevented) events.close()
  })
  events.addEventListener('session-ended', ({ data }) => {
    events.close()
    if (isBusy()) return
    // A new id leaves the visitor signed in, and the browser has the new cookie.
    if (data === 'rotated') location.reload()
    else location.assign('/devices')
  })
}
