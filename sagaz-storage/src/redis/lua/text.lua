-- A whole number as text: `..` would round it to 14 digits.
local function text(number)
  return string.format('%.0f', number)
end
