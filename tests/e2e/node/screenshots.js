// Photographs the web page for docs/ui.md. Arguments: the page's URL, the end of the time range in Unix seconds,
// the folder. Called by tests/support/screenshots.py.
const fs = require('fs')
const path = require('path')
const { chromium } = require('playwright-core')

const [base, end, folder] = [process.argv[2], process.argv[3], process.argv[4]]
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((one) => fs.existsSync(one))
const WAIT = { timeout: 90_000 }
const range = { range: '3600', end, utc: '1' }

const PICTURES = [
  { name: 'query', parameters: { ...range, q: 'sum by (route) (rate(shop_requests[2m]))', stacked: '1', explain: '1' }, ready: '.explain', width: 1000, height: 690 },
  { name: 'heatmap', parameters: { ...range, q: 'sum(rate(shop_request_duration_seconds[1m]))', show: 'heatmap' }, ready: '.heatmap', dark: true, height: 620, many: true },
  { name: 'explore', parameters: { view: 'explore', metric: 'shop_requests', utc: '1' }, ready: 'details.label', height: 560 },
  { name: 'lines', parameters: { view: 'lines', utc: '1' }, ready: '.card', height: 700 },
  { name: 'status', parameters: { view: 'status', utc: '1' }, ready: 'table', height: 620 },
  { name: 'phone', parameters: { ...range, q: 'histogram_quantile(0.99, sum by (route) (rate(shop_request_duration_seconds[5m])))' }, ready: '.legend button', width: 390, height: 844, dark: true }
]

async function main () {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  for (const { name, parameters, ready, width = 1100, height, dark = false, many = false } of PICTURES) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light' })
    const page = await context.newPage()
    await page.goto(`${base}/?${new URLSearchParams(parameters)}`)
    await page.waitForSelector(ready, WAIT)
    await page.waitForLoadState('networkidle', WAIT)
    if (name === 'query' || name === 'heatmap') await page.mouse.move(width * 0.62, 400)
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))))
    const file = path.join(folder, `ui-${name}`)
    if (many) await page.screenshot({ path: `${file}.jpg`, type: 'jpeg', quality: 82 }) // a PNG of many colours is large
    else await page.screenshot({ path: `${file}.png` })
    await context.close()
  }
  await browser.close()
}

main().catch((error) => { console.error(error); process.exit(1) })
