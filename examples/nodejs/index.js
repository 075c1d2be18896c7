// Hashes a password with code that was compiled for this machine, and says where that code lies.
const { hashSync, verifySync } = require('@node-rs/bcrypt')

const hash = hashSync('correct horse battery staple', 4)
const native = Object.keys(require.cache).find((file) => file.endsWith('.node')) ?? 'no native code'

console.log(process.arch, verifySync('correct horse battery staple', hash), native)
