// Reads From values, one JSON string a line, and writes what each mail library takes for the addresses.
import { createRequire } from 'module';
import readline from 'readline';
const require = createRequire(process.cwd() + '/');
const unfold = s => s.replace(/\r?\n(?=[ \t])/g, '');
const flat = l => (l || []).flatMap(a => a.group ? flat(a.group) : a.addresses ? flat(a.addresses) : [a.address || '']);
const pick = m => m.addressparser || m.default || m.parse || m;
const nodemailer = pick(require(process.cwd() + '/node_modules/nodemailer/dist/cjs/addressparser/index.js'));
const addressparser = require('addressparser');
const emailjs = require('emailjs-addressparser').default;
const postal = require('postal-mime').addressParser;
const ea = require('email-addresses');
const libmime = require('libmime');
const { simpleParser } = require('mailparser');
const PostalMime = pick(require('postal-mime'));
const dec = s => libmime.decodeWords(s);
const readers = {
  'nodemailer': s => flat(nodemailer(s)),
  'addressparser': s => flat(addressparser(s)),
  'emailjs-addressparser': s => flat(emailjs(s)),
  'postal-mime-addressparser': s => flat(postal(s)),
  'email-addresses': s => flat(ea.parseFrom({ input: s, rfc6532: true })),
  'libmime+nodemailer': s => flat(nodemailer(dec(s))),
  'libmime+addressparser': s => flat(addressparser(dec(s))),
  'libmime+emailjs-addressparser': s => flat(emailjs(dec(s))),
};
const whole = {
  'mailparser': async s => { const m = await simpleParser('From:' + s + '\r\n\r\nx'); return flat(m.from && m.from.value); },
  'postal-mime': async s => { const m = await PostalMime.parse('From:' + s + '\r\n\r\nx'); return flat(m.from ? [m.from] : []); },
};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const s = JSON.parse(line), out = {};
  for (const [n, f] of Object.entries(readers)) { try { out[n] = f(unfold(s).trim()); } catch (e) { out[n] = ['ERR ' + e.message]; } }
  for (const [n, f] of Object.entries(whole)) { try { out[n] = await f(s); } catch (e) { out[n] = ['ERR ' + e.message]; } }
  console.log(JSON.stringify(out));
}
