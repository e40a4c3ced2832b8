// Migrates one virtual machine with SimGrid and prints what came of it as a row of CSV.
//
// A guest with one core computes without end, so that it dirties its memory at a constant rate.
// See migsim/data/simgrid.md for how migsim/data/simgrid.csv was made. The error output gets two real
// times in seconds: from before the engine is made to the end of its run, and of the run alone.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <simgrid/plugins/live_migration.h>
#include <simgrid/s4u.hpp>

namespace sg = simgrid::s4u;

static double now()
{
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char** argv)
{
  const double started = now();
  sg::Engine engine(&argc, argv);
  if (argc != 8) {
    std::fprintf(stderr, "usage: migrate RAM_BYTES WORKING_SET DIRTY_BYTES_PER_S LINK_BYTES_PER_S "
                         "LATENCY_S shared|split SPEED_BYTES_PER_S\n");
    return 2;
  }
  const double ram       = std::atof(argv[1]);
  const double working   = std::atof(argv[2]);
  const double dirtying  = std::atof(argv[3]);
  const double bandwidth = std::atof(argv[4]);
  const double latency   = std::atof(argv[5]);
  const double speed     = std::atof(argv[7]); // that a migration is allowed
  const bool shared      = std::strcmp(argv[6], "shared") == 0;

  sg_vm_live_migration_plugin_init();

  auto* zone        = sg::create_full_zone("zone");
  const double flop = 1e9;
  auto* source      = zone->create_host("source", flop)->seal();
  auto* destination = zone->create_host("destination", flop)->seal();
  if (shared) {
    auto* one = zone->create_link("link", bandwidth)->set_latency(latency)->seal();
    zone->add_route(source->get_netpoint(), destination->get_netpoint(), nullptr, nullptr,
                    {sg::LinkInRoute(one)}, true);
  } else {
    auto* both = zone->create_split_duplex_link("link", bandwidth)->set_latency(latency)->seal();
    zone->add_route(source->get_netpoint(), destination->get_netpoint(), nullptr, nullptr,
                    {sg::LinkInRoute(both, sg::LinkInRoute::Direction::UP)}, true);
  }
  zone->seal();

  // Messages of no bytes say that the guest runs.
  double sent  = 0;
  int messages = 0;
  sg::Comm::on_send_cb([&](sg::Comm const& message) {
    sent += message.get_remaining();
    messages += message.get_remaining() > 0;
  });
  double stopped = -1, resumed = -1, took = -1;
  sg::VirtualMachine::on_suspend_cb([&](auto const&) { stopped = sg::Engine::get_clock(); });
  sg::VirtualMachine::on_resume_cb([&](auto const&) { resumed = sg::Engine::get_clock(); });

  sg::Actor::create("operator", source, [&] {
    auto* guest = source->create_vm("guest", 1, static_cast<size_t>(ram));
    sg_vm_set_migration_speed(guest, speed);
    sg_vm_set_dirty_page_intensity(guest, dirtying / speed); // it is a share of the speed
    sg_vm_set_working_set_memory(guest, static_cast<sg_size_t>(working));
    guest->start();
    sg::Actor::create("load", guest, [] { sg::this_actor::execute(1e16); })->daemonize();
    const double begin = sg::Engine::get_clock();
    sg_vm_migrate(guest, destination);
    took = sg::Engine::get_clock() - begin;
  });
  const double ready = now();
  engine.run();
  const double ended = now();

  std::printf("%.0f,%.0f,%.0f,%.0f,%g,%s,%.0f,%.9f,%.9f,%.0f,%d\n", ram, working, dirtying, bandwidth,
              latency, argv[6], speed, took, resumed - stopped, sent, messages);
  std::fprintf(stderr, "%.9f %.9f\n", ended - started, ended - ready);
  return 0;
}
