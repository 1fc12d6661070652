// Uses the web page of a running Meterhouse in Chromium, for test_page.py. Arguments: the page's URL, the end of
// the time range in Unix seconds, a file to keep a downloaded CSV in. Prints JSON: what each visit saw.
const fs = require('fs')
const { chromium } = require('playwright-core')
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const [base, end] = [process.argv[2], Number(process.argv[3])]
const WAIT = { timeout: 90_000 }
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => fs.existsSync(path))

const address = (parameters) => `${base}/?${new URLSearchParams({ range: '1800', end: String(end), ...parameters })}`
const drawn = (page, what = 'graph') => page.waitForFunction((name) => performance.getEntriesByName(name).length > 0, `meterhouse-${what}`, WAIT)
const texts = (page, selector) => page.locator(selector).allTextContents()
/** The texts of a column of the first table, by its title. */
const column = (page, title) => page.locator('table').first().evaluate((table, title) => {
  const at = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.trim()).findIndex((text) => text.startsWith(title))
  return Array.from(table.tBodies[0].rows, (row) => row.cells[at].textContent)
}, title)

/** A tab of its own, with the org that it asks for. */
async function tab (browser, { org = '1:1', width = 1280, dark = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 }, colorScheme: dark ? 'dark' : 'light', acceptDownloads: true, timezoneId: 'UTC'
  })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  context.setDefaultTimeout(WAIT.timeout)
  const page = await context.newPage()
  page.complaints = []
  page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()))
  page.on('pageerror', (error) => page.complaints.push(String(error)))
  page.on('request', (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(base) || page.complaints.push(`asks ${request.url()}`))
  if (org) await page.addInitScript((value) => sessionStorage.setItem('meterhouse.access', JSON.stringify({ token: '', org: value })), org)
  return page
}

const painted = (page) => page.evaluate(() => {
  const canvas = document.querySelector('.plot canvas')
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
  const colours = new Set()
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] > 200) colours.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2])
  return colours.size
})

const visits = {
  async graph (browser) {
    let fastest = Infinity
    let page
    for (let i = 0; i < 8 && fastest > 900; i++) { // the best of some loads: other tests run beside
      await page?.context().close()
      page = await tab(browser)
      await page.goto(address({ q: 'sum by (route) (rate(page_requests[1m]))', explain: '1' }))
      await drawn(page)
      fastest = Math.min(fastest, await page.evaluate(() => performance.getEntriesByName('meterhouse-graph')[0].startTime))
    }
    await page.waitForSelector('.explain', WAIT)
    await page.locator('.chip').first().waitFor(WAIT) // suggestions have requests of their own
    const seen = {
      fastest_ms: fastest,
      legend: await texts(page, '.legend .name'),
      colours: await painted(page),
      chips: await texts(page, '.chip'),
      explain: (await texts(page, '.explain')).join('\n'),
      complaints: page.complaints
    }
    await page.locator('.legend button').first().click()
    seen.pressed = await page.locator('.legend button').evaluateAll((all) => all.map((one) => one.getAttribute('aria-pressed')))
    const download = page.waitForEvent('download')
    await page.getByRole('button', { name: 'CSV' }).click()
    seen.csv = fs.readFileSync(await (await download).path(), 'utf8')
    return seen
  },

  async heatmap (browser) {
    const page = await tab(browser)
    await page.goto(address({ q: 'page_latency' }))
    await page.getByRole('button', { name: 'heatmap', exact: true }).click(WAIT)
    await page.waitForFunction(() => performance.getEntriesByName('meterhouse-heatmap').length > 1, null, WAIT) // `page_latency` is one, too
    const seen = { query: await page.locator('.cm-content').textContent(), show: new URL(page.url()).searchParams.get('show') }
    await page.waitForFunction(() => document.querySelector('.plot canvas').width > 300)
    seen.colours = await painted(page)
    const box = await page.locator('.heatmap canvas').boundingBox()
    for (let x = 0.95; x > 0.1 && !(await page.locator('.tooltip').isVisible()); x -= 0.05) {
      for (let y = 0.1; y < 0.9; y += 0.1) await page.mouse.move(box.x + box.width * x, box.y + box.height * y)
    }
    seen.tooltip = await page.locator('.tooltip').textContent()
    await page.getByRole('button', { name: 'p50 p90 p99' }).click()
    await page.waitForFunction(() => document.querySelectorAll('.legend .name').length === 3, null, WAIT)
    seen.quantiles = await texts(page, '.cm-content')
    seen.complaints = page.complaints
    return seen
  },

  /** On a machine where the editor's 20 ms of parsing are over at once, and that is never idle. */
  async busy (browser) {
    const page = await tab(browser)
    await page.addInitScript(() => {
      const now = Date.now
      let more = 0
      Date.now = () => now() + (more += 25)
      window.requestIdleCallback = () => 0
    })
    await page.goto(address({ q: 'sum(rate(page_latency[1m]))' }))
    await page.locator('.chip').first().waitFor(WAIT)
    return { chips: await texts(page, '.chip') }
  },

  async set (browser) {
    const page = await tab(browser)
    await page.goto(address({ q: 'page_users' }))
    await page.getByRole('button', { name: /^distinct in/ }).click(WAIT)
    await page.waitForFunction(() => document.querySelector('.legend .name')?.textContent.startsWith('sum('), null, WAIT)
    return { query: await page.locator('.cm-content').textContent(), value: await page.locator('.legend .value').textContent() }
  },

  async wrong (browser) {
    const page = await tab(browser)
    await page.goto(address({ q: 'sum(rate(page_requests[1m])' }))
    const alert = page.getByRole('alert')
    await alert.waitFor(WAIT)
    return { alert: await alert.textContent(), complaints: page.complaints.filter((text) => !text.includes('400')) }
  },

  async slow (browser) {
    const page = await tab(browser)
    let free
    const held = new Promise((resolve) => { free = resolve })
    await page.route('**/api/v1/query_range', async (route) => { await held; await route.continue().catch(() => {}) })
    await page.goto(address({ q: 'page_requests' }))
    const running = page.locator('.progress', { hasText: 'Running for' })
    await running.waitFor(WAIT)
    await page.getByRole('button', { name: 'Cancel' }).hover()
    const told = await running.textContent()
    await page.mouse.down()
    await page.waitForFunction((text) => document.querySelector('.progress').textContent !== text, told, WAIT)
    await page.mouse.up() // a click that lasts longer than a tick
    await page.locator('.progress', { hasText: 'Cancelled' }).waitFor(WAIT)
    const seen = { cancelled: true }
    free()
    await page.getByRole('button', { name: 'Run' }).click()
    await drawn(page)
    return { ...seen, after: (await texts(page, '.legend .name')).length }
  },

  async many (browser) {
    const page = await tab(browser)
    await page.goto(address({ q: 'page_many' }))
    await drawn(page)
    const seen = { notes: await texts(page, '.note'), listed: await page.locator('.legend .name').count(), colours: await painted(page) }
    await page.getByRole('button', { name: 'Table' }).click()
    await page.waitForSelector('table', WAIT)
    seen.rows = await page.locator('tbody tr').count()
    seen.figures = await page.locator('.figures').textContent()
    seen.more = await page.locator('.more').textContent()
    return seen
  },

  async hostile (browser) {
    const page = await tab(browser)
    await page.goto(address({ q: 'page_hostile' }))
    await drawn(page)
    await page.mouse.move(600, 400)
    const seen = { legend: await texts(page, '.legend .name') }
    await page.getByRole('button', { name: 'Table' }).click()
    await page.waitForSelector('table', WAIT)
    seen.cells = await texts(page, 'tbody td')
    return { ...seen, elements: await page.locator('main img, main script').count(), ran: await page.evaluate(() => window.ran ?? null) }
  },

  async access (browser) {
    const page = await tab(browser, { org: '' })
    await page.goto(address({ q: 'page_requests' }))
    await page.locator('dialog[open]').waitFor(WAIT)
    const seen = { dialog: await page.locator('dialog').textContent() }
    await page.getByRole('button', { name: 'Use' }).click() // without an org: refused, and asked again
    await page.locator('dialog[open]').waitFor(WAIT)
    await page.getByLabel(/X-Scope-OrgID/).fill('2:7')
    await page.getByRole('button', { name: 'Use' }).click()
    await drawn(page)
    seen.legend = await texts(page, '.legend .name')
    return seen
  },

  async typing (browser) {
    const page = await tab(browser)
    await page.goto(`${base}/`)
    await page.locator('.examples button').first().waitFor(WAIT)
    const box = page.locator('.cm-content')
    await box.click()
    await page.keyboard.type('sum(page_req')
    await page.locator('.cm-completionLabel', { hasText: 'page_requests' }).first().waitFor(WAIT)
    await page.keyboard.press('Escape')
    await page.keyboard.press('ControlOrMeta+a')
    await page.keyboard.press('Delete')
    await page.keyboard.type('vector(7)')
    await page.keyboard.press('Escape')
    await page.keyboard.press('Enter')
    await drawn(page)
    const seen = { asked: new URL(page.url()).searchParams.get('q'), legend: await texts(page, '.legend .value') }
    await page.goBack()
    await page.locator('.examples button').first().waitFor(WAIT)
    return { ...seen, after_back: new URL(page.url()).search, complaints: page.complaints }
  },

  async explore (browser) {
    const page = await tab(browser)
    await page.goto(`${base}/?view=explore`)
    await page.getByLabel('Filter metrics').fill('set page_')
    await page.getByRole('button', { name: 'page_users' }).waitFor(WAIT)
    await page.waitForFunction(() => document.querySelectorAll('tbody tr td:first-child').length === 1, null, WAIT) // it was there before, too
    const seen = { filtered: await texts(page, 'tbody tr td:first-child') }
    await page.getByLabel('Filter metrics').fill('page_requests')
    await page.getByRole('button', { name: 'page_requests' }).click(WAIT)
    await page.locator('details.label summary', { hasText: 'route' }).click(WAIT)
    await page.locator('.values button').first().waitFor(WAIT)
    seen.facts = await texts(page, '.fact')
    seen.values = await texts(page, '.values button')
    await page.locator('.values button').first().click()
    await page.waitForSelector('.cm-content', WAIT)
    return { ...seen, query: await page.locator('.cm-content').textContent(), complaints: page.complaints }
  },

  async cardinality (browser) {
    const page = await tab(browser)
    await page.goto(`${base}/?view=cardinality`)
    await page.waitForSelector('tbody', WAIT)
    return { first: await texts(page, 'section:first-of-type tbody tr:first-child td'), headings: await texts(page, 'h2'), complaints: page.complaints }
  },

  async lines (browser) {
    const page = await tab(browser)
    await page.goto(`${base}/?view=lines`)
    await page.waitForSelector('.card', WAIT)
    await page.getByLabel('StatsD lines').fill('pay:1|c|#a:<b>\npay')
    await page.locator('.card', { hasText: 'no_value' }).waitFor(WAIT)
    await page.waitForSelector('tbody', WAIT)
    const refused = await page.locator('tbody tr').evaluateAll((rows) => rows.map((row) => Array.from(row.cells, (cell) => cell.textContent)))
    return { refused, outcomes: await texts(page, '.card .state'), series: await page.locator('dd').first().textContent(), text: await page.locator('main').textContent(), complaints: page.complaints }
  },

  async status (browser) {
    const page = await tab(browser)
    await page.goto(`${base}/?view=status`)
    await page.waitForSelector('table', WAIT)
    const seen = { agents: await column(page, 'org:project'), tiles: await texts(page, '.tile') }
    await page.getByRole('link', { name: 'Alerts & rules' }).click()
    await page.locator('main h2', { hasText: 'Rules' }).waitFor(WAIT)
    await page.locator('.state.firing').first().waitFor(WAIT)
    return { ...seen, alerts: await texts(page, 'main h2'), alert: await texts(page, 'tbody:first-of-type tr:first-child td'), view: new URL(page.url()).searchParams.get('view'), complaints: page.complaints }
  },

  /** A server that takes longer to answer than the page waits before it asks again. */
  async late (browser) {
    const page = await tab(browser)
    await page.clock.install()
    let free
    let asked = 0
    const held = new Promise((resolve) => { free = resolve })
    const first = new Promise((resolve) => {
      page.route('**/meterhouse/status', async (route) => { asked++; resolve(); await held; await route.continue() })
    })
    await page.goto(`${base}/?view=status`)
    await first
    await page.clock.runFor(35_000)
    const seen = { asked }
    free()
    await page.waitForSelector('table', WAIT)
    return { ...seen, busy: await page.locator('main [aria-busy]').count(), complaints: page.complaints }
  },

  /** All pages on a phone: nothing scrolls sideways, and axe finds nothing. */
  async phone (browser) {
    const page = await tab(browser, { width: 390 })
    await page.context().addInitScript(axe)
    const seen = { wide: {}, tall: [], found: [] }
    for (const [name, parameters] of Object.entries(PAGES)) {
      seen.found.push(...await judged(page, name, parameters))
      seen.wide[name] = await page.evaluate(() => document.documentElement.scrollWidth)
      const heads = await page.locator('th').evaluateAll((all) => all.map((one) => one.clientHeight))
      if (Math.max(0, ...heads) > 80) seen.tall.push(name) // broken between letters
    }
    return { ...seen, complaints: page.complaints }
  },

  async dark (browser) {
    const page = await tab(browser, { dark: true })
    await page.context().addInitScript(axe)
    const found = []
    for (const name of ['graph', 'table', 'lines']) found.push(...await judged(page, name, PAGES[name])) // all colours
    return { found }
  }
}

/** Open a page; return what axe calls serious. */
async function judged (page, name, parameters) {
  await page.goto(address(parameters))
  await page.waitForSelector(READY[name] ?? '.plot', WAIT)
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }))
  return violations
    .filter((one) => ['serious', 'critical'].includes(one.impact))
    .map((one) => `${name} ${one.id}: ${one.nodes[0].html.slice(0, 160)} ${one.nodes[0].failureSummary}`)
}

const PAGES = {
  graph: { q: 'sum by (route) (rate(page_requests[1m]))', explain: '1' },
  heatmap: { q: 'sum(rate(page_latency[1m]))', show: 'heatmap' },
  table: { q: 'page_requests', show: 'table' },
  explore: { view: 'explore', metric: 'page_requests' },
  cardinality: { view: 'cardinality' },
  lines: { view: 'lines' },
  alerts: { view: 'alerts' },
  status: { view: 'status' }
}
const READY = { table: 'table', explore: 'details.label', cardinality: 'table', lines: '.card', alerts: 'main h2', status: 'table' }

async function main () {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'], ...WAIT })
  const seen = {}
  const one = async (name) => {
    const began = Date.now()
    const contexts = []
    const mine = { newContext: async (options) => { contexts.push(await browser.newContext(options)); return contexts.at(-1) } }
    try {
      seen[name] = await visits[name](mine)
    } catch (error) {
      seen[name] = { error: String(error.stack ?? error).slice(0, 2000) }
    }
    seen[name].seconds = (Date.now() - began) / 1000
    for (const context of contexts) await context.close()
  }
  const [first, ...others] = Object.keys(visits) // the first one alone: it measures a time
  await one(first)
  await Promise.all([0, 1].map(async () => { while (others.length) await one(others.pop()) }))
  await browser.close()
  process.stdout.write(JSON.stringify(seen))
}

main().catch((error) => { console.error(error); process.exit(1) })
