# Writes OUTPUT, a C++ source with the text of page.css and page.js in FOLDER as Parts.h declares them.
set(source "#include \"compiler/inspect/html/Parts.h\"\n\n")
foreach(part css js)
  file(READ ${FOLDER}/page.${part} text)
  string(APPEND source "const std::string_view lathe::html::${part} = R\"LATHE_TEXT(${text})LATHE_TEXT\";\n")
endforeach()
file(WRITE ${OUTPUT} "${source}")
