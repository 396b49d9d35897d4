open Lwt.Infix
open Cmdliner

let hello =
  let doc = Arg.info ~doc:"What to say." [ "hello" ] in
  Mirage_runtime.register_arg Arg.(value & opt string "hello" doc)

let ticks =
  let doc = Arg.info ~doc:"Seconds until exit." [ "ticks" ] in
  Mirage_runtime.register_arg Arg.(value & opt int 10 doc)

let start () =
  let rec tick n =
    if n > ticks () then Lwt.return_unit
    else (
      Logs.info (fun f -> f "%s %d" (hello ()) n);
      Mirage_sleep.ns (Duration.of_sec 1) >>= fun () -> tick (n + 1))
  in
  tick 1
