# cmake -DCODE=3 -DLINE=regex -DSECONDS=10 -P check_ending.cmake -- command…
# Fails unless the command ends with that exit code in that time and prints exactly one line that
# starts with "bitgrid: " and matches the regular expression; no such line if that is empty.
# CODE=nonzero: any but 0. LINES=2: two lines, one of which matches. SAYS=regex: another thing that
# it must have printed.
if(NOT LINES)
  set(LINES 1)
endif()
set(command "")
set(seen FALSE)
foreach(i RANGE ${CMAKE_ARGC})
  if(seen AND i LESS CMAKE_ARGC)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(seen TRUE)
  endif()
endforeach()
# Open MPI 4.1's mpirun itself hangs or crashes in rare aborts (about one of eighty under load), after our line was printed:
# such a run, and no other, is made once more.
foreach(try RANGE 1 2)
  execute_process(COMMAND ${command} TIMEOUT ${SECONDS}
    RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  set(all "${out}\n${err}")
  if(NOT code MATCHES "timeout" OR NOT LINE OR NOT "${all}" MATCHES "bitgrid: [^\n]*")
    break()
  endif()
endforeach()
if(CODE STREQUAL "nonzero" AND NOT code MATCHES "^[1-9][0-9]*$" OR
   NOT CODE STREQUAL "nonzero" AND NOT "${code}" STREQUAL "${CODE}")
  message(FATAL_ERROR "exit code: ${code}, expected ${CODE}\n${all}")
endif()
string(REPLACE ";" "," all "${all}")
string(REGEX MATCHALL "(^|\n)bitgrid: [^\n]*" lines "${all}")
list(LENGTH lines count)
if(LINE)
  if(NOT count EQUAL LINES OR NOT "${lines}" MATCHES "${LINE}")
    message(FATAL_ERROR "expected ${LINES} line(s), matching \"${LINE}\"; got:\n${all}")
  endif()
elseif(NOT count EQUAL 0)
  message(FATAL_ERROR "expected no line of bitgrid's; got:\n${all}")
endif()
if(SAYS AND NOT "${all}" MATCHES "${SAYS}")
  message(FATAL_ERROR "expected \"${SAYS}\"; got:\n${all}")
endif()
