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
// Each page is looked at as it comes, and then as others see it: axe where colours change, widths everywhere. Zoom of 200 %
// is half the width.
for (const [colorScheme, width, others] of [['light', 1100, [360, 550]], ['dark', 360, [1100]]]) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 }, reducedMotion: 'reduce' })
  for (const [i, url] of urls.entries()) {
    const page = await context.newPage()
    let view = `${width} px, ${colorScheme}`
    const say = text => wrong.push(`${url}, ${view}: ${text}`)
    page.on('console', m => { if (m.type() === 'error' || m.type() === 'warning') say('console: ' + m.text()) })
    page.on('pageerror', e => say('error: ' + e.message))
    page.on('dialog', d => { say('a script of a stranger ran'); d.dismiss() })
    page.on('request', r => { if (new URL(r.url()).host !== new URL(url).host && !r.url().startsWith('data:')) say('asks for ' + r.url()) })
    const fits = async () => {
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
      if (sideways > 0) say(`scrolls sideways by ${sideways} px`)
    }
    const answer = await page.goto(url)
    if (!answer.ok()) say(`status ${answer.status()}`)
    await fits()
    const styled = await page.evaluate(() => getComputedStyle(document.body).maxWidth)
    if (styled === 'none') say('the style sheet does not apply: ' + styled)
    if (await page.evaluate(() => document.scripts.length > 0)) say('it has a script')
    if (await page.evaluate(() => document.getAnimations().length > 0)) say('something moves')
    if (screenshots && i === 0) {
      await page.screenshot({ path: join(screenshots, `statuspage-${colorScheme}.png`) })
    }
    await page.evaluate(axe)
    const { violations } = await page.evaluate(() => globalThis.axe.run())
    for (const v of violations) say(`axe: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 200)).join(' | ')}`)
    // With the keyboard alone the first links are reached in their order, and it is seen where one is.
    const stops = Math.min(await page.locator('a, input, button').count(), 4)
    for (let n = 0; n < stops; n++) {
      await page.keyboard.press('Tab')
      const at = await page.evaluate(n => {
        const e = document.activeElement
        return e === document.querySelectorAll('a, input, button')[n] && getComputedStyle(e).outlineStyle !== 'none'
      }, n)
      if (!at) say(`the key Tab does not show element ${n + 1}`)
    }
    for (const other of others) {
      view = `${other} px, ${colorScheme}`
      await page.setViewportSize({ width: other, height: 800 })
      await fits()
    }
    view = 'printed'
    await page.emulateMedia({ media: 'print', colorScheme })
    await fits()
    if (await page.locator('input').filter({ visible: true }).count() > 0) say('a field to write in is there')
    await page.close()
  }
  await context.close()
}
await browser.close()
for (const line of wrong) console.log(line)
