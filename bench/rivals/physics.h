// What RDataFrame calls for the ADL benchmark's queries: plain loops in double, the same formulas as physics.py.
#include <cmath>
#include <ROOT/RVec.hxx>
using F = ROOT::RVec<float>;
using I = ROOT::RVec<int>;

struct P4 { double x, y, z, e; };

P4 p4(double pt, double eta, double phi, double m) {
    double x = pt * std::cos(phi), y = pt * std::sin(phi), z = pt * std::sinh(eta);
    return {x, y, z, std::sqrt(x * x + y * y + z * z + m * m)};
}
P4 operator+(P4 a, P4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.e + b.e}; }
double mass(P4 a) { return std::sqrt(std::max(a.e * a.e - a.x * a.x - a.y * a.y - a.z * a.z, 0.)); }

bool adl5(const F &pt, const F &eta, const F &phi, const F &m, const I &q) {
    for (size_t i = 0; i < pt.size(); i++)
        for (size_t j = i + 1; j < pt.size(); j++) {
            if (q[i] == q[j]) continue;
            double found = mass(p4(pt[i], eta[i], phi[i], m[i]) + p4(pt[j], eta[j], phi[j], m[j]));
            if (60 < found && found < 120) return true;
        }
    return false;
}

double adl6(const F &pt, const F &eta, const F &phi, const F &m) {
    double best = 1e300, value = 0;
    std::vector<P4> jets;
    for (size_t i = 0; i < pt.size(); i++) jets.push_back(p4(pt[i], eta[i], phi[i], m[i]));
    for (size_t i = 0; i < pt.size(); i++)
        for (size_t j = i + 1; j < pt.size(); j++)
            for (size_t k = j + 1; k < pt.size(); k++) {
                P4 sum = jets[i] + jets[j] + jets[k];
                double away = std::abs(mass(sum) - 172.5);
                if (away < best) { best = away; value = std::hypot(sum.x, sum.y); }
            }
    return value;
}

bool near_any(double eta, double phi, const F &pt, const F &etas, const F &phis) {
    for (size_t i = 0; i < pt.size(); i++) {
        double a = eta - etas[i], b = std::remainder(phi - phis[i], 2 * M_PI);
        if (pt[i] > 10 && std::sqrt(a * a + b * b) < 0.4) return true;
    }
    return false;
}
double adl7(const F &pt, const F &eta, const F &phi, const F &mpt, const F &meta, const F &mphi, const F &ept,
            const F &eeta, const F &ephi) {
    double sum = 0;
    for (size_t i = 0; i < pt.size(); i++)
        if (pt[i] > 30 && !near_any(eta[i], phi[i], mpt, meta, mphi) && !near_any(eta[i], phi[i], ept, eeta, ephi))
            sum += pt[i];
    return sum;
}

bool opposite(const I &q) { return Any(q > 0) && Any(q < 0); }
bool adl8_pair(const I &mq, const I &eq) { return opposite(mq) || opposite(eq); }

double adl8(const F &mpt, const F &meta, const F &mphi, const F &mm, const I &mq, const F &ept, const F &eeta,
            const F &ephi, const F &em, const I &eq, float met, float metphi) {
    double best = 1e300;
    int flavour = 0;
    size_t a = 0, b = 0;
    auto pairs = [&](int f, const F &pt, const F &eta, const F &phi, const F &m, const I &q) {
        for (size_t i = 0; i < pt.size(); i++)
            for (size_t j = i + 1; j < pt.size(); j++) {
                if (q[i] == q[j]) continue;
                double z = mass(p4(pt[i], eta[i], phi[i], m[i]) + p4(pt[j], eta[j], phi[j], m[j]));
                if (std::abs(z - 91.2) < best) { best = std::abs(z - 91.2); flavour = f; a = i; b = j; }
            }
    };
    pairs(0, mpt, meta, mphi, mm, mq);
    pairs(1, ept, eeta, ephi, em, eq);
    double pt = -1, phi = 0;
    for (size_t i = 0; i < mpt.size(); i++)
        if (!(flavour == 0 && (i == a || i == b)) && mpt[i] > pt) { pt = mpt[i]; phi = mphi[i]; }
    for (size_t i = 0; i < ept.size(); i++)
        if (!(flavour == 1 && (i == a || i == b)) && ept[i] > pt) { pt = ept[i]; phi = ephi[i]; }
    return std::sqrt(2 * pt * met * (1 - std::cos(phi - metphi)));
}
