// Looks at pages in Chromium: node check.mjs PROGRAM SCREENSHOTS URL... prints what is wrong, a line each.
// SCREENSHOTS is a directory, or empty: the first page is pictured there.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(process.env.DKIMD_BROWSER + '/')
const { chromium } = require('playwright-core')
const axe = require('axe-core').source

const [program, screenshots, ...urls] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
const wrong = []
for (const [colorScheme, width] of [['light', 1100], ['dark', 360]]) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 } })
  for (const [i, url] of urls.entries()) {
    const page = await context.newPage()
    const say = text => wrong.push(`${url}, ${width} px, ${colorScheme}: ${text}`)
    page.on('console', m => { if (m.type() === 'error' || m.type() === 'warning') say('console: ' + m.text()) })
    page.on('pageerror', e => say('error: ' + e.message))
    page.on('dialog', d => { say('a script of a stranger ran'); d.dismiss() })
    page.on('request', r => { if (new URL(r.url()).host !== new URL(url).host && !r.url().startsWith('data:')) say('asks for ' + r.url()) })
    const answer = await page.goto(url)
    if (!answer.ok()) say(`status ${answer.status()}`)
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    if (sideways > 0) say(`scrolls sideways by ${sideways} px`)
    const styled = await page.evaluate(() => getComputedStyle(document.body).maxWidth)
    if (styled !== '1024px') say('the style sheet does not apply: ' + styled)
    await page.evaluate(axe)
    const { violations } = await page.evaluate(() => globalThis.axe.run())
    for (const v of violations) say(`axe: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 200)).join(' | ')}`)
    if (screenshots && i === 0) {
      await page.screenshot({ path: join(screenshots, `statuspage-${colorScheme}.png`) })
    }
    await page.close()
  }
  await context.close()
}
await browser.close()
for (const line of wrong) console.log(line)
