# Writes OUTPUT, a C++ source with the text of FILES (relative to FOLDER) as the table that DeviceText.h declares.
set(table "#include \"runtime/device/DeviceText.h\"\n\nstatic const lathe::DeviceFile files[] = {\n")
foreach(file ${FILES})
  file(READ ${FOLDER}/${file} text)
  string(APPEND table "    {\"lathe/${file}\", R\"LATHE_TEXT(${text})LATHE_TEXT\"},\n")
endforeach()
string(APPEND table "};\n\nstd::span<const lathe::DeviceFile> lathe::deviceText() { return files; }\n")
file(WRITE ${OUTPUT} "${table}")
